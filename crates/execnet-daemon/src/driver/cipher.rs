//! Which cipher a link's ssh asks for first.
//!
//! ssh's own list begins with ChaCha20-Poly1305. Where the processor has AES instructions, AES-GCM needs two
//! thirds of the processor time for the same bytes (docs/benchmarks.md), and processor time limits a link. So
//! AES-GCM moves to the front of the list; nothing is added or removed. A spec that names ciphers is left
//! alone, and so is a non-default cipher list in the ssh configuration ([`super::ssh_config`] asks).

/// Whether the spec names ciphers.
pub(super) fn is_chosen(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| names_ciphers(argument))
}

/// Whether this is one of ssh's options for ciphers, as `-cCIPHER` and `-oCiphers=LIST`, or the word behind
/// `-o`.
fn names_ciphers(argument: &str) -> bool {
    let option = argument.strip_prefix("-o").unwrap_or(argument).trim_start();
    argument.starts_with("-c") || option.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("ciphers"))
}

/// The same ciphers with AES-GCM in front, if that changes anything.
pub(super) fn aes_first(list: &str) -> Option<String> {
    let (mut ciphers, others): (Vec<_>, Vec<_>) =
        list.split(',').partition(|cipher| cipher.contains("-gcm@"));
    ciphers.extend(others);
    let new = ciphers.join(",");
    (new != list).then_some(new)
}

/// Whether this machine's processor has instructions for AES-GCM.
pub(super) fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_ciphers_in_a_spec_has_chosen() {
        for option in [
            "-c",
            "-caes128-ctr",
            "-oCiphers=^aes256-ctr",
            "-o ciphers x",
            "Ciphers=^chacha20-poly1305@openssh.com",
        ] {
            assert!(names_ciphers(option), "{option}");
        }
        for option in ["-C", "-o", "Compression=no", "-p", "-oCanonicalizeHostname=yes", "cipher", "build1"] {
            assert!(!names_ciphers(option), "{option}");
        }
    }

    #[test]
    fn aes_comes_first_and_nothing_is_lost() {
        let list = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
        let new = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(aes_first(list).as_deref(), Some(new));
        assert_eq!(aes_first(new), None);
        assert_eq!(aes_first("chacha20-poly1305@openssh.com,aes128-ctr"), None);
    }
}
