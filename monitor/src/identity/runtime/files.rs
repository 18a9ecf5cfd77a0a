//! What runtimes write down of their containers. Pure: bytes in, as much as is believed out.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Longer than any name that a runtime or Kubernetes allows.
const NAME_LIMIT: usize = 253;
/// Longer than any image reference in use.
const IMAGE_LIMIT: usize = 1024;

/// What a file says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) name: Box<str>,
    pub(super) image: Box<str>,
    /// Of its pod, as the kubelet told the runtime: UID, namespace, name.
    pub(super) pod: Option<[Box<str>; 3]>,
}

/// Docker's `config.v2.json`.
pub(super) fn docker(json: &[u8]) -> Option<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct File {
        name: String,
        #[serde(default)]
        config: Config,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Config {
        image: String,
    }
    let file: File = serde_json::from_slice(json).ok()?;
    // Docker's names begin with a slash.
    let name = cut(file.name.trim_start_matches('/'), NAME_LIMIT);
    Some(Told { name, image: cut(&file.config.image, IMAGE_LIMIT), pod: None })
}

/// The entry for `id` in the `containers.json` of containers/storage: podman's, Buildah's.
pub(super) fn storage(json: &[u8], id: &str) -> Option<Told> {
    #[derive(Deserialize)]
    struct Entry {
        id: String,
        #[serde(default)]
        names: Option<Vec<String>>,
        #[serde(default)]
        metadata: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "kebab-case")]
    struct Metadata {
        name: String,
        image_name: String,
    }
    let entries: Vec<Entry> = serde_json::from_slice(json).ok()?;
    let entry = entries.into_iter().find(|entry| entry.id == id)?;
    let metadata: Metadata = serde_json::from_str(&entry.metadata).unwrap_or_default();
    let name = entry.names.unwrap_or_default().into_iter().next().unwrap_or(metadata.name);
    Some(Told { name: cut(&name, NAME_LIMIT), image: cut(&metadata.image_name, IMAGE_LIMIT), pod: None })
}

/// The annotations that containerd's CRI plugin, CRI-O and nerdctl put into a container's OCI `config.json`:
/// container, image, pod UID, namespace, name.
const ANNOTATIONS: [[&str; 5]; 3] = [
    [
        "io.kubernetes.cri.container-name",
        "io.kubernetes.cri.image-name",
        "io.kubernetes.cri.sandbox-uid",
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
    ],
    [
        "io.kubernetes.container.name",
        "io.kubernetes.cri-o.ImageName",
        "io.kubernetes.pod.uid",
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.name",
    ],
    ["nerdctl/name", "nerdctl/image-ref", "", "", ""],
];

/// An OCI `config.json`.
pub(super) fn oci(json: &[u8]) -> Option<Told> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let file: File = serde_json::from_slice(json).ok()?;
    let annotations = file.annotations?;
    ANNOTATIONS.iter().find_map(|keys| {
        let [name, image, uid, namespace, pod] =
            keys.map(|key| annotations.get(key).map(String::as_str).unwrap_or_default());
        let pod = (!uid.is_empty() && !pod.is_empty())
            .then(|| [uid, namespace, pod].map(|text| cut(text, NAME_LIMIT)));
        let told = Told { name: cut(name, NAME_LIMIT), image: cut(image, IMAGE_LIMIT), pod };
        // A sandbox has no container name, but its pod's.
        (!told.name.is_empty() || told.pod.is_some()).then_some(told)
    })
}

/// `text`, or as much of it as fits, whole characters.
fn cut(text: &str, limit: usize) -> Box<str> {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, image: &str, pod: Option<[&str; 3]>) -> Option<Told> {
        Some(Told { name: name.into(), image: image.into(), pod: pod.map(|pod| pod.map(Box::from)) })
    }

    #[test]
    fn each_runtimes_file_is_understood() {
        let cri = br#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-name":"app",
            "io.kubernetes.cri.image-name":"i:1","io.kubernetes.cri.sandbox-uid":"u",
            "io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"web-x"}}"#;
        let crio = br#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.uid":"u",
            "io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-x","io.kubernetes.cri-o.ImageName":"i:1"}}"#;
        let sandbox = br#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox",
            "io.kubernetes.cri.sandbox-uid":"u","io.kubernetes.cri.sandbox-name":"web-x"}}"#;
        let podman = br#"[{"id":"other","names":["no"]},{"id":"x","names":["web"],
            "metadata":"{\"image-name\":\"docker.io/library/nginx:1\",\"name\":\"web\"}"},{"id":"bare"}]"#;
        let pod = Some(["u", "shop", "web-x"]);
        for (name, got, want) in [
            (
                "docker",
                docker(br#"{"ID":"x","Name":"/web","Config":{"Image":"nginx:1"}}"#),
                told("web", "nginx:1", None),
            ),
            ("docker without an image", docker(br#"{"Name":"/web"}"#), told("web", "", None)),
            ("docker, another file", docker(br#"{"Config":{}}"#), None),
            ("podman", storage(podman, "x"), told("web", "docker.io/library/nginx:1", None)),
            ("podman, nothing but the id", storage(podman, "bare"), told("", "", None)),
            ("podman, not there", storage(podman, "y"), None),
            ("containerd", oci(cri), told("app", "i:1", pod)),
            ("CRI-O", oci(crio), told("app", "i:1", pod)),
            ("a sandbox", oci(sandbox), told("", "", Some(["u", "", "web-x"]))),
            ("nerdctl", oci(br#"{"annotations":{"nerdctl/name":"web"}}"#), told("web", "", None)),
            ("runc alone", oci(br#"{"annotations":{"a":"b"}}"#), None),
            ("no annotations", oci(br#"{"annotations":null}"#), None),
        ] {
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn nonsense_is_nothing_and_length_is_cut() {
        for bytes in
            [&b""[..], b"\xff\xfe", b"[]", b"{\"Name\":7}", b"{\"annotations\":7}", &b"[".repeat(10_000)]
        {
            assert_eq!((docker(bytes), storage(bytes, "x"), oci(bytes)), (None, None, None));
        }
        let long = format!(r#"{{"Name":"/{0}","Config":{{"Image":"{0}"}}}}"#, "é".repeat(10_000));
        let told = docker(long.as_bytes()).expect("a name");
        assert!(told.name.len() <= NAME_LIMIT && told.image.len() <= IMAGE_LIMIT);
    }
}
