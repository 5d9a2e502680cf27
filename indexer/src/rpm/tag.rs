//! Numbers of the entries of headers, as rpm assigned them.

#![expect(missing_docs, reason = "the names are rpm's own")]

/// In the signature header: bytes of the payload uncompressed, as 64 and as 32 bits.
pub const SIGNATURE_LONG_ARCHIVE_SIZE: u32 = 271;
pub const SIGNATURE_PAYLOAD_SIZE: u32 = 1007;
/// There, too: digests of the header.
pub const SIGNATURE_SHA1: u32 = 269;
pub const SIGNATURE_SHA256: u32 = 273;
/// The mark of headers that are signed as they are: older ones need mending.
pub const IMMUTABLE: u32 = 63;
pub const NAME: u32 = 1000;
pub const VERSION: u32 = 1001;
pub const RELEASE: u32 = 1002;
pub const EPOCH: u32 = 1003;
pub const SUMMARY: u32 = 1004;
pub const DESCRIPTION: u32 = 1005;
pub const BUILD_TIME: u32 = 1006;
pub const BUILD_HOST: u32 = 1007;
pub const SIZE: u32 = 1009;
pub const VENDOR: u32 = 1011;
pub const LICENSE: u32 = 1014;
pub const PACKAGER: u32 = 1015;
pub const GROUP: u32 = 1016;
pub const URL: u32 = 1020;
pub const ARCH: u32 = 1022;
pub const OLD_FILE_NAMES: u32 = 1027;
pub const FILE_MODES: u32 = 1030;
pub const FILE_DIGESTS: u32 = 1035;
pub const FILE_FLAGS: u32 = 1037;
pub const SOURCE_RPM: u32 = 1044;
pub const ARCHIVE_SIZE: u32 = 1046;
pub const CHANGELOG_TIME: u32 = 1080;
pub const CHANGELOG_NAME: u32 = 1081;
pub const CHANGELOG_TEXT: u32 = 1082;
pub const SOURCE_PACKAGE: u32 = 1106;
pub const DIR_INDEXES: u32 = 1116;
pub const BASE_NAMES: u32 = 1117;
pub const DIR_NAMES: u32 = 1118;
pub const LONG_ARCHIVE_SIZE: u32 = 271;
pub const LONG_SIZE: u32 = 5009;
/// Bytes of the payload uncompressed, in packages of the sixth format.
pub const PAYLOAD_SIZE_PLAIN: u32 = 5113;

/// Tags of names, flags and versions of one sort of dependencies.
pub type Triple = [u32; 3];
pub const PROVIDES: Triple = [1047, 1112, 1113];
pub const REQUIRES: Triple = [1049, 1048, 1050];
pub const CONFLICTS: Triple = [1054, 1053, 1055];
pub const OBSOLETES: Triple = [1090, 1114, 1115];
pub const RECOMMENDS: Triple = [5046, 5048, 5047];
pub const SUGGESTS: Triple = [5049, 5051, 5050];
pub const SUPPLEMENTS: Triple = [5052, 5054, 5053];
pub const ENHANCES: Triple = [5055, 5057, 5056];
/// What SUSE used before rpm 4.12.
pub const OLD_SUGGESTS: Triple = [1156, 1158, 1157];
pub const OLD_ENHANCES: Triple = [1159, 1161, 1160];
