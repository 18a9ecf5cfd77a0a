//! What the authors' suite runs: programs as people run them, each in a way that shows what it is for.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A name that makes a profile's, and what busybox's shell runs.
pub(crate) type Program = (&'static str, &'static str);

/// Nothing in them is left to chance (a reader that ends early has its writer killed now and then). Each leaves its files where it found none, so that the second run does what the first one did.
pub(crate) const PROGRAMS: [Program; 15] = [
    (
        "files",
        "echo x > /tmp/w-file && cat < /tmp/w-file && mv /tmp/w-file /tmp/w-moved && ln /tmp/w-moved /tmp/w-link && rm /tmp/w-moved /tmp/w-link",
    ),
    (
        "signals",
        // The child is there, whatever comes first, before it is sent anything.
        "true > /tmp/w-up; /bin/busybox sh -c 'echo up > /tmp/w-up; while true; do true; done' & until test -s /tmp/w-up; do /bin/busybox sleep 0.1; done; kill $! ; wait; true",
    ),
    ("state", "cat /proc/self/status /proc/$$/stat > /dev/null"),
    (
        "bash",
        "/usr/bin/bash -c '/usr/bin/seq 2000 | /usr/bin/sort -r | /usr/bin/tail -n 3 | /usr/bin/wc -l > /tmp/w-lines' && test $(cat /tmp/w-lines) = 3",
    ),
    (
        "tar",
        "mkdir -p /tmp/w-dir && echo y > /tmp/w-dir/f && /usr/bin/tar -I /usr/bin/gzip -cf /tmp/w.tgz -C /tmp w-dir && rm -r /tmp/w-dir && /usr/bin/tar -I /usr/bin/gzip -xf /tmp/w.tgz -C /tmp && grep -q y /tmp/w-dir/f && rm -r /tmp/w-dir /tmp/w.tgz",
    ),
    (
        "sed",
        "echo old > /tmp/w-sed && /usr/bin/sed -i s/old/new/ /tmp/w-sed && grep -q new /tmp/w-sed && rm /tmp/w-sed",
    ),
    (
        "gawk",
        "/usr/bin/gawk 'BEGIN { \"echo 42\" | getline x; print x > \"/tmp/w-awk\" }' && grep -q 42 /tmp/w-awk && rm /tmp/w-awk",
    ),
    (
        "perl",
        "/usr/bin/perl -e 'open F, \">\", \"/tmp/w-perl\" or die $!; print F \"x\"; close F; rename \"/tmp/w-perl\", \"/tmp/w-perl2\" or die $!; if (fork == 0) { chmod 0600, \"/tmp/w-perl2\" or exit 1; exit 0 } wait; die if $?; unlink \"/tmp/w-perl2\" or die $!'",
    ),
    (
        "python",
        "/usr/bin/python3.13 -c 'import _socket as s\nc = s.socket(s.AF_INET, s.SOCK_STREAM)\nc.connect((\"127.0.0.1\", 8000))\nc.send(b\"GET /index.html HTTP/1.0\\r\\n\\r\\n\")\nanswer = b\"\"\nwhile True:\n  part = c.recv(4096)\n  if not part: break\n  answer += part\nassert b\"hello\" in answer, answer'",
    ),
    (
        "curl",
        "/usr/bin/curl -sf -o /tmp/w-page http://127.0.0.1:8000/index.html && grep -q hello /tmp/w-page && rm /tmp/w-page",
    ),
    (
        "sqlite",
        "/usr/bin/sqlite3 /tmp/w.db 'create table t(a); insert into t values(41); update t set a = a + 1; select a from t' > /tmp/w-rows && grep -q 42 /tmp/w-rows && rm /tmp/w.db /tmp/w-rows",
    ),
    (
        "redis",
        "mkdir /tmp/w-redis && /usr/bin/redis-server --port 0 --unixsocket /tmp/w-redis/s --dir /tmp/w-redis > /dev/null & \
         r() { /usr/bin/redis-cli -s /tmp/w-redis/s \"$@\"; }; n=0; \
         until r ping > /dev/null 2>&1; do n=$((n+1)); test $n -lt 60 || exit 1; sleep 1; done; \
         r set k 42 > /dev/null && r get k | grep -q 42 && r save > /dev/null && r shutdown nosave; wait; rm -r /tmp/w-redis",
    ),
    (
        "nginx",
        "mkdir /tmp/w-nginx; /usr/sbin/nginx -c /lab/nginx.conf -e /tmp/w-nginx/log & n=0; \
         until wget -q -O /tmp/w-nginx/page http://127.0.0.1:8081/index.html; do n=$((n+1)); test $n -lt 60 || exit 1; sleep 1; done; \
         grep -q hello /tmp/w-nginx/page && /usr/sbin/nginx -c /lab/nginx.conf -e /tmp/w-nginx/log -s quit; e=$?; wait; rm -r /tmp/w-nginx; exit $e",
    ),
    (
        "postgres",
        "p() { /usr/lib/postgresql/17/bin/psql -XAtq -h /lab/postgres -U postgres -c \"$1\"; }; \
         /usr/bin/setpriv --reuid=70 --regid=70 --clear-groups \
         /usr/lib/postgresql/17/bin/postgres -D /lab/postgres > /dev/null 2>&1 & s=$!; n=0; \
         until p 'select 1' > /dev/null 2>&1; do n=$((n+1)); test $n -lt 60 || exit 1; sleep 1; done; \
         p 'create table t(a int)' && p 'insert into t select generate_series(1, 1000)' && p 'create index on t(a)' && \
         p 'vacuum analyze t' && test \"$(p 'select sum(a) from t')\" = 500500 && p 'drop table t'; \
         e=$?; kill -INT $s; wait $s; exit $e",
    ),
    ("node", "/usr/bin/node /lab/web.js && grep -q hello /tmp/w-node && rm /tmp/w-node"),
];

const NGINX: &str = "daemon off; user root root; worker_processes 1; pid /tmp/w-nginx/pid;
events { }
http {
  access_log /tmp/w-nginx/access.log;
  client_body_temp_path /tmp/w-nginx/1; proxy_temp_path /tmp/w-nginx/2; fastcgi_temp_path /tmp/w-nginx/3;
  uwsgi_temp_path /tmp/w-nginx/4; scgi_temp_path /tmp/w-nginx/5;
  server { listen 127.0.0.1:8081; root /lab/web; }
}
";

/// A server that asks itself.
const WEB: &str = r#"const fs = require("fs"), http = require("http"), zlib = require("zlib");
const server = http.createServer((question, answer) => answer.end(zlib.gzipSync("hello")));
server.listen(8082, "127.0.0.1", () => http.get("http://127.0.0.1:8082/", answer => {
  const parts = [];
  answer.on("data", part => parts.push(part));
  answer.on("end", () => {
    fs.writeFileSync("/tmp/w-node", zlib.gunzipSync(Buffer.concat(parts)));
    server.close();
  });
}));
"#;

/// postgres does not run as root.
const POSTGRES: u32 = 70;

/// Something to ask, by those that ask over HTTP; ended with the guest.
pub(crate) fn prepare() -> Result<Child> {
    fs::write("/lab/nginx.conf", NGINX).context("writing nginx's configuration")?;
    fs::write("/lab/web.js", WEB).context("writing node's program")?;
    cluster()?;
    Command::new("/bin/busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:8000", "-h", "/lab/web"])
        .stdin(Stdio::null())
        .spawn()
        .context("starting httpd")
}

/// The database that postgres serves, made beforehand and unconfined: it is made once in a server's life.
fn cluster() -> Result<()> {
    // For POSIX shared memory, as any system has it.
    DirBuilder::new().recursive(true).create("/dev/shm").context("making /dev/shm")?;
    fs::set_permissions("/dev/shm", Permissions::from_mode(0o1777))?;
    DirBuilder::new().mode(0o700).create("/lab/postgres").context("making the database's folder")?;
    chown("/lab/postgres", Some(POSTGRES), Some(POSTGRES))?;
    let end = Command::new("/usr/lib/postgresql/17/bin/initdb")
        .args(["--pgdata=/lab/postgres", "--username=postgres", "--auth=trust", "--locale=C", "--no-sync"])
        .args(["--set=listen_addresses=", "--set=unix_socket_directories=/lab/postgres"])
        .stdin(Stdio::null())
        .uid(POSTGRES)
        .gid(POSTGRES)
        .output()
        .context("starting initdb")?;
    ensure!(end.status.success(), "initdb: {}: {}", end.status, String::from_utf8_lossy(&end.stderr));
    Ok(())
}
