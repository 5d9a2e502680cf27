//! Architectures: which there are, which packages a machine can run, and which of them can be installed beside each
//! other.

/// Machines with the architectures of packages that they run, best first, beside `noarch`.
const RUNS: &[(&str, &[&str])] = &[
    ("x86_64", &["x86_64", "i686", "i586", "i486", "i386"]),
    ("x86_64_v2", &["x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"]),
    ("x86_64_v3", &["x86_64_v3", "x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"]),
    ("x86_64_v4", &["x86_64_v4", "x86_64_v3", "x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"]),
    ("i686", &["i686", "i586", "i486", "i386"]),
    ("i586", &["i586", "i486", "i386"]),
    ("i486", &["i486", "i386"]),
    ("ppc64", &["ppc64", "ppc"]),
    ("s390x", &["s390x", "s390"]),
    ("armv8hl", &["armv8hl", "armv7hnl", "armv7hl", "armv6hl"]),
    ("armv7hnl", &["armv7hnl", "armv7hl", "armv6hl"]),
    ("armv7hl", &["armv7hl", "armv6hl"]),
    ("sparc64", &["sparc64", "sparcv9", "sparcv8", "sparc"]),
];

/// Machines that run no other packages than their own and `noarch`.
const ALONE: &[&str] = &[
    "aarch64",
    "alpha",
    "armv5tel",
    "armv6hl",
    "armv6l",
    "armv7l",
    "i386",
    "ia64",
    "loongarch64",
    "m68k",
    "mips",
    "mips64",
    "mips64el",
    "mipsel",
    "ppc",
    "ppc64le",
    "riscv64",
    "s390",
    "sh4",
    "sparc",
    "sparcv8",
    "sparcv9",
];

/// All machines that there are.
pub fn known() -> impl Iterator<Item = &'static str> {
    RUNS.iter().map(|(name, _)| *name).chain(ALONE.iter().copied())
}

/// Whether there are such machines.
pub fn is_known(machine: &str) -> bool {
    known().any(|name| name == machine)
}

/// Whether packages of the architecture are sources.
pub fn is_source(arch: &str) -> bool {
    matches!(arch, "src" | "nosrc")
}

/// How good a package's architecture is on a machine, from 0, the best; `None` where it cannot be installed.
pub fn rank(machine: &str, arch: &str) -> Option<usize> {
    if arch == "noarch" || arch == machine {
        return Some(0);
    }
    let (_, runs) = RUNS.iter().find(|(name, _)| *name == machine)?;
    runs.iter().position(|name| *name == arch)
}

/// Whether packages of one name and of these architectures exclude each other. They need not where one is for the
/// 32 bits of a machine and the other for its 64 bits.
pub fn exclude(a: &str, b: &str) -> bool {
    a == "noarch" || b == "noarch" || is_wide(a) == is_wide(b)
}

fn is_wide(arch: &str) -> bool {
    arch.contains("64") || matches!(arch, "s390x" | "alpha" | "ppc64le")
}

/// The machines that packages of these architectures are for: those that no other one of them runs.
pub fn machines<'a>(archs: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let concrete = archs.filter(|arch| *arch != "noarch" && !is_source(arch));
    let covered = |arch: &str| concrete.clone().any(|other| other != arch && rank(other, arch).is_some());
    let mut machines: Vec<String> =
        concrete.clone().filter(|arch| !covered(arch)).map(str::to_owned).collect();
    machines.sort_unstable();
    machines.dedup();
    machines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_of_packages_is_one_of_machines() {
        for (machine, runs) in RUNS {
            assert!(runs.iter().all(|arch| is_known(arch)), "{machine}");
            assert_eq!(known().filter(|name| name == machine).count(), 1);
        }
        assert!(is_known("aarch64") && !is_known("noarch") && !is_known("src") && !is_known("x86_46"));
    }

    #[test]
    fn machines_run_their_own_packages_and_some_others() {
        assert_eq!(rank("x86_64", "x86_64"), Some(0));
        assert_eq!(rank("x86_64", "i686"), Some(1));
        assert_eq!(rank("x86_64", "noarch"), Some(0));
        assert_eq!(rank("x86_64", "aarch64"), None);
        assert_eq!(rank("aarch64", "x86_64"), None);
        assert_eq!(rank("x86_64", "src"), None);
        assert_eq!(rank("riscv64", "riscv64"), Some(0));
        assert!(!exclude("i686", "x86_64") && exclude("noarch", "i686") && exclude("i586", "i686"));
        let archs = ["noarch", "i686", "x86_64", "aarch64", "src", "x86_64"];
        assert_eq!(machines(archs.into_iter()), ["aarch64", "x86_64"]);
        assert!(machines(["noarch"].into_iter()).is_empty());
    }
}
