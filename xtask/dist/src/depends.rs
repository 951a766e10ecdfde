//! Which packages the programs need, found in the programs themselves, as `dpkg-shlibdeps` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::external::{Failure, run};

/// The packages of the libraries that Rust's standard library is linked with.
const PACKAGES: [(&str, &str); 4] = [
    ("libc.so.", "libc6"),
    ("libm.so.", "libc6"),
    ("ld-linux", "libc6"),
    ("libgcc_s.so.", "libgcc-s1"),
];

/// Oldest version of each package that is new enough for all programs: `libc6 (>= 2.34), libgcc-s1 (>= 4.2)`.
pub(crate) fn of(programs: &[PathBuf]) -> Result<String, Failure> {
    let mut oldest: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for program in programs {
        for (package, version) in
            needed(program, &run(Command::new("objdump").arg("-p").arg(program))?)?
        {
            let oldest = oldest.entry(package).or_default();
            *oldest = version.max(std::mem::take(oldest));
        }
    }
    let depend = |(package, version): (&str, Vec<u32>)| {
        let version: Vec<_> = version.iter().map(ToString::to_string).collect();
        format!("{package} (>= {})", version.join("."))
    };
    Ok(oldest.into_iter().map(depend).collect::<Vec<_>>().join(", "))
}

/// Packages and versions that a program needs, from what `objdump -p` says:
/// ```text
/// Version References:
///   required from libc.so.6:
///     0x069691b4 0x00 05 GLIBC_2.34
/// ```
fn needed(program: &Path, headers: &str) -> Result<Vec<(&'static str, Vec<u32>)>, Failure> {
    let mut needed = Vec::new();
    let mut package = "";
    for line in headers.lines().skip_while(|line| !line.starts_with("Version References")).skip(1) {
        if let Some(library) = line.trim().strip_prefix("required from ") {
            let known = PACKAGES.iter().find(|(begin, _)| library.starts_with(begin));
            package = known.map(|(_, package)| *package).ok_or_else(|| Failure::Library {
                program: program.display().to_string(),
                library: library.trim_end_matches(':').to_owned(),
            })?;
        } else if let Some((_, version)) = line.rsplit_once('_') {
            // A name without a number is of the library's own parts.
            if let Ok(version) = version.split('.').map(str::parse).collect() {
                needed.push((package, version));
            }
        }
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "
Dynamic Section:
  NEEDED               libgcc_s.so.1

Version References:
  required from libgcc_s.so.1:
    0x0b792650 0x00 06 GCC_3.0
  required from libc.so.6:
    0x0d696910 0x00 11 GLIBC_2.9
    0x069691b4 0x00 09 GLIBC_2.34
    0x0963cf85 0x00 07 GLIBC_PRIVATE
";

    #[test]
    fn versions_are_numbers() {
        let found = needed(Path::new("x"), HEADERS).unwrap();
        assert_eq!(
            found,
            [("libgcc-s1", vec![3, 0]), ("libc6", vec![2, 9]), ("libc6", vec![2, 34])]
        );
    }

    #[test]
    fn a_library_of_an_unknown_package_is_an_error() {
        let headers = HEADERS.replace("libc.so.6", "libz.so.1");
        let error = needed(Path::new("x"), &headers).unwrap_err().to_string();
        assert!(error.contains("libz.so.1, and"), "{error}");
    }
}
