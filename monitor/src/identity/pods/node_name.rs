//! What this node is called in the cluster.

/// Whether `name` can be a node's: RFC 1123, as the API server demands.
pub fn check(name: &str) -> Result<(), String> {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && !word.ends_with('-')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(word) {
        return Ok(());
    }
    Err("expected a node's name: small letters, digits, '-' and '.', such as node-1 or ip-10-0-0-7.ec2.internal"
        .to_owned())
}

/// The name: as `given`, else as `NODE_NAME` says (the usual variable of a downward-API field), else the
/// host's, which is what a kubelet takes when it is told nothing else.
pub fn find(given: Option<&str>) -> Result<String, String> {
    let variable = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = given
        .map(str::to_owned)
        .or(variable)
        .or_else(|| host().map(|name| name.trim().to_lowercase()))
        .ok_or_else(|| "this host has no name: give --node-name".to_owned())?;
    check(&name).map(|()| name.clone()).map_err(|why| format!("{name:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_api_server_accepts() {
        for (name, good) in [
            ("node-1", true),
            ("ip-10-0-0-7.ec2.internal", true),
            ("7", true),
            ("", false),
            ("Node-1", false),
            ("-a", false),
            ("a-", false),
            ("a..b", false),
            ("a.", false),
            ("a&watch=1", false),
            ("a%3D", false),
            (&"a".repeat(254), false),
        ] {
            assert_eq!(check(name).is_ok(), good, "{name:?}");
        }
    }
}
