//! A container image from scratch, as an archive of the OCI image layout (image-spec 1.0): a layer with the
//! binary, its configuration, a manifest, an index. The same binary gives the same bytes: no time, no user of the
//! machine that built it.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Where the binary is in the image.
const PATH: &str = "usr/bin/aa-monitor";
/// Folders that mounts need as a place, because the root is read-only.
const FOLDERS: [&str; 11] =
    ["dev", "etc", "proc", "run", "run/aa-monitor", "sys", "tmp", "usr", "usr/bin", "var", "var/lib"];

/// An image that was written.
pub(super) struct Image {
    /// What it is called after loading.
    pub(super) reference: String,
    /// Its digest, to deploy it by.
    pub(super) digest: String,
}

/// A blob, and how others refer to it.
struct Blob {
    bytes: Vec<u8>,
    kind: &'static str,
}

impl Blob {
    fn json(value: &Value, kind: &'static str) -> Result<Self> {
        Ok(Self { bytes: serde_json::to_vec(value)?, kind })
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": digest(&self.bytes), "size": self.bytes.len() })
    }

    fn path(&self) -> String {
        digest(&self.bytes).replace(':', "/")
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// Writes the archive.
pub(super) fn write(binary: &[u8], arch: &str, archive: &Path) -> Result<Image> {
    let version = env!("CARGO_PKG_VERSION");
    let layer = layer(binary)?;
    let diff = digest(&layer);
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&layer)?;
    let layer = Blob { bytes: packed.finish()?, kind: "application/vnd.oci.image.layer.v1.tar+gzip" };
    let labels = json!({
        "org.opencontainers.image.title": "aa-monitor",
        "org.opencontainers.image.description": "Counts what AppArmor denies, and names the workload",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    });
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "config": {
            "User": "0:0",
            "Entrypoint": [format!("/{PATH}")],
            "Cmd": ["run"],
            "Env": ["PATH=/usr/bin"],
            "ExposedPorts": { "9464/tcp": {} },
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [diff] },
        "history": [{ "created_by": "cargo xtask dist" }],
    });
    let config = Blob::json(&config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": labels,
    });
    let manifest = Blob::json(&manifest, "application/vnd.oci.image.manifest.v1+json")?;
    let reference = format!("localhost/aa-monitor:{version}");
    let mut entry = manifest.descriptor();
    entry["platform"] = json!({ "architecture": arch, "os": "linux" });
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });

    let file = File::create(archive).with_context(|| format!("creating {}", archive.display()))?;
    let mut tar = Builder::new(file);
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    add(&mut tar, "index.json", &serde_json::to_vec(&index)?, 0o644)?;
    for blob in [&layer, &config, &manifest] {
        add(&mut tar, &format!("blobs/{}", blob.path()), &blob.bytes, 0o644)?;
    }
    tar.into_inner()?.flush()?;
    Ok(Image { reference, digest: digest(&manifest.bytes) })
}

/// The one layer, not yet compressed.
fn layer(binary: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for folder in FOLDERS {
        let mut header = header(0, 0o755, EntryType::Directory);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    add(&mut tar, PATH, binary, 0o755)?;
    Ok(tar.into_inner()?)
}

fn add(tar: &mut Builder<impl Write>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = header(bytes.len() as u64, mode, EntryType::Regular);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("adding {path}"))
}

fn header(size: u64, mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use flate2::read::GzDecoder;
    use serde_json::Value;
    use tar::Archive;

    use super::{digest, write};

    fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), content)
        });
        entries.collect()
    }

    /// Follows digests as a runtime does, from the index to the binary.
    #[test]
    fn every_digest_leads_to_its_blob_and_the_last_to_the_binary() {
        let path = std::env::temp_dir().join(format!("aa-monitor-image-{}", std::process::id()));
        let image = write(b"a binary", "amd64", &path).unwrap();
        let first = std::fs::read(&path).unwrap();
        write(b"a binary", "amd64", &path).unwrap();
        assert!(first == std::fs::read(&path).unwrap(), "the same binary gives another image");
        std::fs::remove_file(&path).unwrap();

        let files = entries(&first);
        let blob = |descriptor: &Value| {
            let name = descriptor["digest"].as_str().unwrap();
            let bytes = &files[&format!("blobs/{}", name.replace(':', "/"))];
            assert_eq!(digest(bytes), name);
            assert_eq!(descriptor["size"], bytes.len());
            bytes
        };
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let index = json(&files["index.json"]);
        assert_eq!(index["manifests"][0]["digest"], image.digest);
        let manifest = json(blob(&index["manifests"][0]));
        let config = json(blob(&manifest["config"]));
        let mut layer = Vec::new();
        GzDecoder::new(&blob(&manifest["layers"][0])[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        assert_eq!(entries(&layer)["usr/bin/aa-monitor"], b"a binary");
        assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/aa-monitor");
    }
}
