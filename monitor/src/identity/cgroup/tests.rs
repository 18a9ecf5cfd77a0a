use proptest::prelude::*;

use super::*;

const H: &str = "4f1c9b6a7d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e";
/// The first 15 digits are those of `H`.
const H2: &str = "4f1c9b6a7d2e3f4fffffffffffffffffffffffffffffffffffffffffffffffff";
const OUTER: &str = "a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeeff";
const U: &str = "0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f";
/// Its tail is that of `U`.
const U2: &str = "1111fe4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f";
const STATIC: &str = "c9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4";

/// H, U, U_ and h32 as shared notation for ids; O for the container around.
fn spell(path: &str) -> String {
    path.split('/')
        .map(|part| {
            part.replace("{H}", H)
                .replace("{H2}", H2)
                .replace("{O}", OUTER)
                .replace("{U}", U)
                .replace("{U2}", U2)
                .replace("{U_}", &U.replace('-', "_"))
                .replace("{h32}", STATIC)
        })
        .collect::<Vec<_>>()
        .join("/")
}

fn container(id: &str, pod: Option<&str>) -> Place {
    Place::Container(Ids { container: id.into(), pod: pod.map(Into::into), node: None, below_init: false })
}

#[test]
fn each_layout_names_its_container() {
    let none = None;
    for (row, path, id, pod) in [
        (1, "/kubepods/besteffort/pod{U}/{H}", H, Some(U)),
        (2, "/kubepods/burstable/pod{U}/{H}", H, Some(U)),
        (3, "/kubepods/pod{U}/{H}", H, Some(U)),
        (
            4,
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_}.slice/cri-containerd-{H}.scope",
            H,
            Some(U),
        ),
        (
            5,
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U_}.slice/docker-{H}.scope",
            H,
            Some(U),
        ),
        (
            5,
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U_}.slice/crio-{H}.scope",
            H,
            Some(U),
        ),
        (6, "/kubepods.slice/kubepods-pod{U_}.slice/cri-containerd-{H}.scope", H, Some(U)),
        (7, "/system.slice/docker-{H}.scope", H, none),
        (7, "/docker/{H}", H, none),
        (8, "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{H}.scope/container", H, none),
        (9, "/machine.slice/libpod-{H}.scope/container", H, none),
        (9, "/libpod_parent/libpod-{H}", H, none),
        (14, "/kubelet/kubepods/burstable/pod{h32}/{H}", H, Some(STATIC)),
        (
            15,
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{h32}.slice/cri-containerd-{H}.scope",
            H,
            Some(STATIC),
        ),
        (
            16,
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{U_}.slice/cri-containerd-{H}.scope",
            H,
            Some(U),
        ),
        (
            16,
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{U_}.slice/cri-containerd-{H}.scope/one",
            H,
            Some(U),
        ),
        (
            16,
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{U_}.slice/cri-containerd-{H}.scope/one/two",
            H,
            Some(U),
        ),
        (
            17,
            "/podruntime.slice/containerd.service/kubepods-burstable-pod{U_}.slice:cri-containerd:{H}",
            H,
            Some(U),
        ),
        (18, "/actions_job/{H}", H, none),
        (18, "/{H}", H, none),
        (18, "/k8s.io/{H}", H, none),
        (
            19,
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_}.slice/crio-{H}.scope/container",
            H,
            Some(U),
        ),
        (21, "/docker/{H}/any/deeper/path", H, none),
        (22, "/docker/{H}/docker/{O}/syscont-cgroup-root", H, none),
        (22, "/kubepods/pod{U}/{H}/kubepods/pod{U2}/{O}/syscont-cgroup-root", H, Some(U)),
        (23, "/../../kubepods/besteffort/pod{U}/{H}", H, Some(U)),
        (23, "/../pod{U}/{H}", H, Some(U)),
        (23, "/../{H}", H, none),
        (25, "/kubepods/burstable/pod{U}/{H} (deleted)", H, Some(U)),
        (27, "/kubepods/burstable/pod{U2}/{H}", H, Some(U2)),
        (27, "/kubepods/burstable/pod{U}/{H2}", H2, Some(U)),
        (30, "/docker/{H}", H, none),
    ] {
        assert_eq!(parse(spell(path).as_bytes()), container(id, pod), "row {row}: {path}");
    }
}

#[test]
fn a_container_around_pods_is_a_node() {
    let inner = |pod: &str| {
        Place::Container(Ids {
            container: H.into(),
            pod: Some(pod.into()),
            node: Some(OUTER.into()),
            below_init: false,
        })
    };
    for (row, path, want) in [
        (
            12,
            "/system.slice/docker-{O}.scope/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_}.slice/docker-{H}.scope",
            inner(U),
        ),
        (
            12,
            "/docker/{O}/system.slice/kubepods.slice/kubepods-besteffort-pod{U_}.slice/cri-containerd-{H}.scope",
            inner(U),
        ),
        (
            12,
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U_}.slice/cri-containerd-{H}.scope",
            container(H, Some(U)),
        ),
        (13, "/system.slice/docker-{O}.scope/kubepods/besteffort/pod{U}/{H}", inner(U)),
        (13, "/kubepods/besteffort/pod{U}/{H}", container(H, Some(U))),
        (14, "/docker/{O}/kubelet/kubepods/burstable/pod{h32}/{H}", inner(STATIC)),
        (17, "/docker/{O}/kubepods-burstable-pod{U_}.slice:cri-containerd:{H}", inner(U)),
        (11, "/system.slice/docker-{O}.scope/system.slice/kubelet.service", Place::Host(Host::NodeProcess)),
    ] {
        assert_eq!(parse(spell(path).as_bytes()), want, "row {row}: {path}");
    }
    // Rows 11 and 20 have one shape: what is known of the container decides (`containers.rs`).
    for path in [
        "/system.slice/docker-{O}.scope/init.scope",
        "/system.slice/docker-{O}.scope/system.slice/containerd.service",
    ] {
        let Place::Container(ids) = parse(spell(path).as_bytes()) else { panic!("{path}") };
        assert_eq!((&*ids.container, ids.below_init), (OUTER, true), "{path}");
    }
}

#[test]
fn what_is_no_container_names_none() {
    let upper = H.to_uppercase();
    let long = "a".repeat(4096);
    for (row, path, want) in [
        (10, "/libpod_parent/conmon".to_owned(), Place::Host(Host::Monitor)),
        (10, spell("/machine.slice/libpod-conmon-{H}.scope"), Place::Host(Host::Monitor)),
        (
            10,
            spell("/kubepods.slice/kubepods-pod{U_}.slice/crio-conmon-{H}.scope"),
            Place::Host(Host::Monitor),
        ),
        (23, "/../..".to_owned(), Place::Untold(Untold::OtherNamespace)),
        (23, "/../system.slice/ssh.service".to_owned(), Place::Untold(Untold::OtherNamespace)),
        (23, spell("/docker/../{H}"), Place::Untold(Untold::NotAPath)),
        (26, "/system.slice/ssh.service".to_owned(), Place::Host(Host::NoContainer)),
        (26, "/user.slice/user-1000.slice/session-1.scope".to_owned(), Place::Host(Host::NoContainer)),
        (26, "/init.scope".to_owned(), Place::Host(Host::NoContainer)),
        (26, "/".to_owned(), Place::Host(Host::NoContainer)),
        (28, format!("/docker/{upper}"), Place::Host(Host::NoContainer)),
        (28, format!("/docker/{}", &H[..12]), Place::Host(Host::NoContainer)),
        (28, format!("/docker/{}", &H[..63]), Place::Host(Host::NoContainer)),
        (28, format!("/docker/{H}0"), Place::Host(Host::NoContainer)),
        (28, format!("/system.slice/docker-{H}0.scope"), Place::Host(Host::NoContainer)),
        (28, format!("/docker/{}\0", &H[..63]), Place::Host(Host::NoContainer)),
        (28, format!("/{long}"), Place::Host(Host::NoContainer)),
        (28, String::new(), Place::Untold(Untold::NotAPath)),
        (28, H.to_owned(), Place::Untold(Untold::NotAPath)),
        (28, spell("/kubepods/pod{U}"), Place::Untold(Untold::PodOnly)),
        (28, format!("/not-kubepods.slice/other-pod{STATIC}.slice"), Place::Host(Host::NoContainer)),
    ] {
        assert_eq!(parse(path.as_bytes()), want, "row {row}: {path}");
    }
    assert_eq!(parse(b"/docker/\xff\xfe"), Place::Host(Host::NoContainer), "row 28: invalid UTF-8");
}

#[test]
fn the_file_is_read_in_one_order() {
    let host = Some(Place::Host(Host::NoContainer));
    for (name, file, want) in [
        ("v2", "0::/docker/{H}\n", Some(container(H, None))),
        (
            "v1: pids before memory and systemd",
            "12:memory:/docker/{O}\n4:pids:/docker/{H}\n1:name=systemd:/docker/{H2}\n",
            Some(container(H, None)),
        ),
        (
            "without pids, memory before cpu",
            "3:cpu,cpuacct:/docker/{O}\n2:memory:/docker/{H}\n",
            Some(container(H, None)),
        ),
        ("another controller", "3:rdma:/docker/{H}\n0::/\n", Some(container(H, None))),
        ("name=systemd alone", "1:name=systemd:/docker/{H}\n0::/\n", Some(container(H, None))),
        ("hybrid, v2 knows more", "4:pids:/\n0::/docker/{H}\n", Some(container(H, None))),
        (
            "a colon in the path",
            "0::/kubepods-pod{U_}.slice:cri-containerd:{H}\n",
            Some(container(H, Some(U))),
        ),
        ("host", "4:pids:/user.slice\n0::/\n", host.clone()),
        ("no line end", "0::/", host),
        ("empty", "", None),
        ("no lines of this kind", "nonsense\n:pids:/docker/{H}\n", None),
    ] {
        assert_eq!(parse_file(spell(file).as_bytes()), want, "{name}");
    }
}

proptest! {
    /// Whatever stands below a container of a pod, it stays that container's.
    #[test]
    fn children_inherit(below in prop::collection::vec("[a-z0-9:-][a-z0-9.:-]{0,79}", 0..6)) {
        let path = spell(&format!("/kubepods/pod{{U}}/{{H}}/{}", below.join("/")));
        prop_assert_eq!(parse(path.as_bytes()), container(H, Some(U)));
    }

    #[test]
    fn an_id_is_always_one_that_the_path_has(path in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Place::Container(ids) = parse(&path) {
            prop_assert!(String::from_utf8_lossy(&path).contains(&*ids.container));
        }
    }
}
