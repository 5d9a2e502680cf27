//! Uncompressing metadata, with an end to it, and compressing it, always to the same bytes.
//!
//! The format is told by the first bytes, never by the name. Always true: a reader made here gives no more
//! than the allowed number of bytes before it fails, whatever the compressed bytes claim, and the
//! decompressors' own memory is bounded too.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Memory that an xz stream may ask for: level 9 needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 192 << 20;
/// The largest zstd window, as a power of two: what the `zstd` tool takes without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What is given to an encoder at once.
const PIECE_BYTES: usize = 256 << 10;
/// Levels of compressing: beyond these, time grows and size hardly shrinks.
const GZIP_LEVEL: u32 = 5;
const XZ_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 9;
const BZIP2_LEVEL: u32 = 6;

/// A compression format, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Not compressed.
    Plain,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Format {
    /// The format of a file by its first bytes; six tell all of them apart.
    pub fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Format::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
            [b'B', b'Z', b'h', ..] => Format::Bzip2,
            _ => Format::Plain,
        }
    }

    /// How names of such files end.
    pub const fn suffix(self) -> &'static str {
        match self {
            Format::Plain => "",
            Format::Gzip => ".gz",
            Format::Xz => ".xz",
            Format::Zstd => ".zst",
            Format::Bzip2 => ".bz2",
        }
    }
}

/// Compresses what is written to it. The same bytes come out for the same bytes in, however they are cut: no
/// time, no name and no number of threads is in them.
pub struct Compressor<W: Write> {
    /// What makes no whole piece yet. Encoders see pieces of one size, since what they write follows the cuts.
    piece: Vec<u8>,
    encoder: Encoder<W>,
}

enum Encoder<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Bzip2(bzip2::write::BzEncoder<W>),
}

impl<W: Write> std::fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl<W: Write> Compressor<W> {
    /// A compressor to `format` that writes to `out`.
    pub fn new(format: Format, out: W) -> io::Result<Self> {
        let encoder = match format {
            Format::Plain => Encoder::Plain(out),
            Format::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Encoder::Gzip(flate2::GzBuilder::new().write(out, level))
            }
            Format::Xz => Encoder::Xz(liblzma::write::XzEncoder::new(out, XZ_LEVEL)),
            Format::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
            Format::Bzip2 => {
                Encoder::Bzip2(bzip2::write::BzEncoder::new(out, bzip2::Compression::new(BZIP2_LEVEL)))
            }
        };
        Ok(Self { piece: Vec::with_capacity(PIECE_BYTES), encoder })
    }

    /// Writes what is left, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.encoder.write_all(&self.piece)?;
        match self.encoder {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Xz(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Bzip2(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.encoder.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // what is left comes with the end
    }
}

impl<W: Write> Encoder<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(out) => out.write_all(bytes),
            Encoder::Gzip(encoder) => encoder.write_all(bytes),
            Encoder::Xz(encoder) => encoder.write_all(bytes),
            Encoder::Zstd(encoder) => encoder.write_all(bytes),
            Encoder::Bzip2(encoder) => encoder.write_all(bytes),
        }
    }
}

/// More bytes come out of a file than its declaration or the caller's cap allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is larger than {limit_bytes} bytes when uncompressed")]
pub struct TooLarge {
    /// How many bytes were allowed.
    pub limit_bytes: u64,
}

/// A reader of what `input` holds uncompressed, whichever format it is in, that fails with [`TooLarge`]
/// inside an [`io::Error`] when that is more than `limit_bytes`.
pub fn reader<'a>(
    mut input: impl BufRead + Send + 'a,
    limit_bytes: u64,
) -> io::Result<Box<dyn BufRead + Send + 'a>> {
    let mut magic = Vec::with_capacity(6);
    input.by_ref().take(6).read_to_end(&mut magic)?;
    let format = Format::of(&magic);
    let input = io::Cursor::new(magic).chain(input);
    let plain: Box<dyn Read + Send + 'a> = match format {
        Format::Plain => Box::new(input),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Format::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(BufReader::with_capacity(1 << 16, Capped { inner: plain, limit_bytes, read_bytes: 0 })))
}

/// Fails as soon as more than the limit has come out.
struct Capped<R> {
    inner: R,
    limit_bytes: u64,
    read_bytes: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read_bytes += read as u64;
        if self.read_bytes > self.limit_bytes {
            return Err(io::Error::other(TooLarge { limit_bytes: self.limit_bytes }));
        }
        Ok(read)
    }
}
