//! A disk that remembers: a file system of our own with one file, below a loop device, below a real ext4.
//!
//! Every write and every flush that reaches the disk is kept in the order in which it came, so a test can make
//! of them any state that a power cut could have left: all that was flushed, and any part of what was not. It can
//! also be told to fail. Needs the right to mount; where there is none, tests are skipped.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, UnmountFlags};

use crate::crash::Dice;
use crate::harness::{installed, ran};

/// What a disk may tear a write into.
const SECTOR_BYTES: usize = 512;
/// What is not zero of an image is written in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// What came to the disk.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes for a place.
    Write { at: usize, bytes: Vec<u8> },
    /// All that was written before is to survive.
    Flush,
    /// The test has seen something succeed; the number is its own.
    Seen(usize),
}

/// Which requests fail with an I/O error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failing {
    pub reads: bool,
    pub writes: bool,
    pub flushes: bool,
}

/// What the disk holds and what it has seen.
#[derive(Debug, Default)]
pub struct Tape {
    image: Vec<u8>,
    events: Vec<Event>,
    failing: Failing,
    /// How many requests were refused.
    failed: usize,
}

impl Tape {
    /// Answers one request: an error number, or bytes.
    fn answer(&mut self, request: &[u8]) -> Option<Result<Vec<u8>, i32>> {
        let opcode = u32_at(request, 4);
        let body = &request[40..];
        Some(match opcode {
            // FORGET, BATCH_FORGET and INTERRUPT want no answer.
            2 | 42 | 36 => return None,
            // GETATTR and SETATTR
            3 | 4 => Ok(self.attributes()),
            // OPEN, past the page cache
            14 => Ok([0_u64.to_ne_bytes(), 1_u64.to_ne_bytes()].concat()),
            // READ
            15 if self.failing.reads => Err(5),
            15 => {
                let (at, size) = (usize_at(body, 8), u32_at(body, 16) as usize);
                let end = (at + size).min(self.image.len());
                Ok(self.image[at.min(end)..end].to_vec())
            }
            // WRITE
            16 if self.failing.writes => Err(5),
            16 => {
                let (at, size) = (usize_at(body, 8), u32_at(body, 16));
                let bytes = body[40..40 + size as usize].to_vec();
                self.image[at..at + bytes.len()].copy_from_slice(&bytes);
                self.events.push(Event::Write { at, bytes });
                Ok([size.to_ne_bytes(), [0; 4]].concat())
            }
            // STATFS
            17 => Ok(vec![0; 80]),
            // FSYNC
            20 if self.failing.flushes => Err(5),
            20 => {
                if !matches!(self.events.last(), Some(Event::Flush)) {
                    self.events.push(Event::Flush);
                }
                Ok(Vec::new())
            }
            // RELEASE, FLUSH, ACCESS, DESTROY
            18 | 25 | 34 | 38 => Ok(Vec::new()),
            26 => Ok(welcome(u32_at(body, 8))),
            _ => Err(38),
        })
        .inspect(|answer| self.failed += usize::from(*answer == Err(5)))
    }

    /// `struct fuse_attr_out` of the one file.
    fn attributes(&self) -> Vec<u8> {
        let mut out = vec![0; 104];
        let size = self.image.len() as u64;
        for (at, number) in [(0, 3600), (16, 1), (24, size), (32, size / 512)] {
            out[at..at + 8].copy_from_slice(&u64::to_ne_bytes(number));
        }
        for (at, number) in [(76, 0o100_600), (80, 1), (96, 4096)] {
            out[at..at + 4].copy_from_slice(&u32::to_ne_bytes(number));
        }
        out
    }
}

/// `struct fuse_init_out`.
fn welcome(readahead: u32) -> Vec<u8> {
    let (big_writes, max_pages) = (1_u32 << 5, 1_u32 << 22);
    let mut out = vec![0; 64];
    for (at, number) in
        [(0, 7), (4, 31), (8, readahead), (12, big_writes | max_pages), (20, 1 << 20), (24, 1)]
    {
        out[at..at + 4].copy_from_slice(&u32::to_ne_bytes(number));
    }
    out[28..30].copy_from_slice(&256_u16.to_ne_bytes());
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()).try_into().unwrap()
}

fn serve(mut device: &File, tape: &Mutex<Tape>) {
    let mut buffer = vec![0; (1 << 20) + (64 << 10)];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) if length >= 40 => length,
            // The file system is gone.
            Ok(_) => return,
            Err(error) if error.raw_os_error() == Some(19) => return,
            Err(_) => continue,
        };
        let request = &buffer[..length];
        let Some(answer) = tape.lock().unwrap().answer(request) else { continue };
        let (code, bytes) = answer.map_or_else(|code| (-code, Vec::new()), |bytes| (0, bytes));
        let mut out = u32::try_from(16 + bytes.len()).unwrap().to_ne_bytes().to_vec();
        out.extend(code.to_ne_bytes());
        out.extend(&request[8..16]);
        out.extend(bytes);
        let _ = device.write(&out);
    }
}

/// A mounted disk.
pub struct Disk {
    tape: Arc<Mutex<Tape>>,
    /// The one file.
    file: PathBuf,
    loop_device: String,
    /// Where its file system is.
    pub dir: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl Disk {
    /// A disk of `size_bytes` in `room`, with an ext4 of these options, mounted at `dir`. `None`, and a word about
    /// it, where that cannot be done.
    pub fn mount(room: &Path, dir: &Path, size_bytes: u64, options: &[&str]) -> Option<Self> {
        if !["mkfs.ext4", "losetup"].into_iter().all(installed) {
            return None;
        }
        fs::create_dir_all(room).unwrap();
        fs::create_dir_all(dir).unwrap();
        let tape = Tape { image: formatted(room, size_bytes, options), ..Tape::default() };
        let tape = Arc::new(Mutex::new(tape));
        let file = room.join("disk");
        File::create(&file).unwrap();
        let Ok(device) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
            eprintln!("skipped: no /dev/fuse");
            return None;
        };
        let words = format!("fd={},rootmode=100600,user_id=0,group_id=0", device.as_raw_fd());
        let words = CString::new(words).unwrap();
        if rustix::mount::mount("cfs-test-disk", &file, "fuse", MountFlags::empty(), words.as_c_str())
            .is_err()
        {
            eprintln!("skipped: no file system can be mounted");
            return None;
        }
        let answered = Arc::clone(&tape);
        let server = std::thread::spawn(move || serve(&device, &answered));
        let loop_device = attach(&file);
        let disk = Self { tape, file, loop_device, dir: dir.to_owned(), server: Some(server) };
        let kind = "errors=remount-ro,noinit_itable";
        let mounted = rustix::mount::mount(
            disk.loop_device.as_str(),
            dir,
            "ext4",
            MountFlags::empty(),
            Some(CString::new(kind).unwrap().as_c_str()),
        );
        if let Err(error) = mounted {
            eprintln!("skipped: no ext4 can be mounted: {error}");
            return None;
        }
        Some(disk)
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap()
    }

    /// The whole disk as it is now; whatever comes to it from now on is an event.
    pub fn image(&self) -> Vec<u8> {
        let mut tape = self.tape();
        tape.events.clear();
        tape.image.clone()
    }

    /// Remembers that something has been seen to succeed.
    pub fn seen(&self, number: usize) {
        self.tape().events.push(Event::Seen(number));
    }

    /// Everything that came since the image was taken.
    pub fn events(&self) -> Vec<Event> {
        self.tape().events.clone()
    }

    /// Lets requests fail, or succeed again. Returns how many failed so far.
    pub fn fail(&self, failing: Failing) -> usize {
        let mut tape = self.tape();
        tape.failing = failing;
        tape.failed
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.fail(Failing::default());
        unmount(&self.dir);
        let _ = ran(Command::new("losetup").args(["-d", &self.loop_device]));
        unmount(&self.file);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// Unmounts, at the latest when the last one leaves.
fn unmount(path: &Path) {
    for _ in 0..50 {
        if rustix::mount::unmount(path, UnmountFlags::empty()).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
}

/// Attaches a loop device to a file.
fn attach(file: &Path) -> String {
    let done = ran(Command::new("losetup").args(["-f", "--show"]).arg(file));
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout.trim().to_owned()
}

/// The bytes of a new file system.
fn formatted(room: &Path, size_bytes: u64, options: &[&str]) -> Vec<u8> {
    let path = room.join("new");
    File::create(&path).unwrap().set_len(size_bytes).unwrap();
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    let done = ran(command.args(options).arg(&path));
    assert_eq!(done.code, 0, "{done:?}");
    let image = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    image
}

/// How a power cut treats what was written since the last flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// None of it.
    Nothing,
    /// Each write is lost, kept or torn as the dice fall.
    Some,
}

/// Applies the writes of `events` to an image as a power cut leaves them.
pub fn cut(image: &mut [u8], events: &[Event], loss: Loss, dice: &mut Dice) {
    for event in events {
        let Event::Write { at, bytes } = event else { continue };
        let keep = match (loss, dice.below(8)) {
            (Loss::Everything, _) | (Loss::Some, 0..3) => 0..0,
            (Loss::Some, 3) => {
                let sectors = bytes.len().div_ceil(SECTOR_BYTES) as u64;
                let middle = usize::try_from(dice.below(sectors)).unwrap() * SECTOR_BYTES;
                if dice.below(2) == 0 { 0..middle } else { middle..bytes.len() }
            }
            _ => 0..bytes.len(),
        };
        image[at + keep.start..at + keep.end].copy_from_slice(&bytes[keep]);
    }
}

/// An image that is mounted at `dir`, where it may be changed: what a machine finds that comes up again.
pub struct Found {
    dir: PathBuf,
    file: PathBuf,
}

impl Found {
    /// Mounts a copy of `image`; says why it cannot be.
    pub fn mount(image: &[u8], room: &Path, repair: bool) -> Result<Self, String> {
        let (file, dir) = (room.join("found"), room.join("mnt"));
        fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let _ = fs::remove_file(&file);
        let copy = File::create(&file).unwrap();
        copy.set_len(image.len() as u64).unwrap();
        for (number, piece) in image.chunks(PIECE_BYTES).enumerate() {
            if piece.iter().any(|byte| *byte != 0) {
                copy.write_all_at(piece, (number * PIECE_BYTES) as u64).unwrap();
            }
        }
        if repair {
            let done = ran(Command::new("e2fsck").arg("-fy").arg(&file));
            if !(0..=1).contains(&done.code) {
                return Err(format!("e2fsck: {}", done.stdout));
            }
        }
        let done = ran(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&file).arg(&dir));
        if done.code == 0 { Ok(Self { dir, file }) } else { Err(format!("mount: {}", done.stderr)) }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        unmount(&self.dir);
        let _ = fs::remove_file(&self.file);
    }
}
