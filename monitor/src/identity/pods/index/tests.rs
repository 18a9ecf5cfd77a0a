use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn id(letter: char) -> Box<str> {
    letter.to_string().repeat(64).into()
}

/// A pod and its regular containers, each with the id of this letter, if any.
fn pod(name: &str, containers: &[(&str, Option<char>)]) -> KubePod {
    let containers = containers.iter().map(|(name, letter)| KubeContainer {
        name: (*name).into(),
        id: letter.map(id),
        ..KubeContainer::default()
    });
    KubePod {
        pod: Arc::new(Pod {
            uid: format!("uid-{name}").into(),
            namespace: "ns".into(),
            name: name.into(),
            ..Pod::default()
        }),
        containers: containers.collect(),
        ..KubePod::default()
    }
}

/// `pod/container`, or `pod?container` when it is told by the pod alone; empty when nothing is known.
fn find(index: &Index, letter: char, uid: &str) -> String {
    let (container, mark) = match index.find(&id(letter), Some(uid)) {
        Some(Named::Fully(container)) => (container, '/'),
        Some(Named::ByPod(container)) => (container, '?'),
        None => return String::new(),
    };
    assert_eq!(container.id, id(letter));
    let pod = container.pod.as_ref().expect("a pod");
    format!("{}{mark}{}", pod.name, container.name)
}

#[test]
fn a_container_is_found_by_its_id_alone_and_before_that_by_its_pod() {
    let now = Instant::now();
    let mut index = Index::new(Limits::default());
    assert_eq!(find(&index, 'a', "uid-web"), "");
    index.apply(pod("web", &[("app", None)]), now);
    assert_eq!(find(&index, 'a', "uid-web"), "web?app", "the only container that it can be");
    index.apply(pod("web", &[("app", Some('a'))]), now);
    assert_eq!(find(&index, 'a', "wrong"), "web/app");
    assert_eq!(find(&index, 'b', "uid-web"), "web?", "not the one whose id is known: a sandbox, a restart");
    index.apply(pod("two", &[("app", None), ("side", None)]), now);
    assert_eq!(find(&index, 'c', "uid-two"), "two?", "one of two");
    assert_eq!(index.find(&id('c'), None), None);
}

#[test]
fn what_is_gone_is_found_for_as_long_as_promised() {
    let start = Instant::now();
    let mut replaced = Index::new(Limits::default());
    replaced.apply(pod("web", &[("app", Some('a'))]), start);
    replaced.apply(pod("web", &[("app", Some('b'))]), start + MINUTE);
    let mut deleted = Index::new(Limits::default());
    deleted.apply(pod("web", &[("app", Some('a'))]), start);
    deleted.delete("uid-web", start + MINUTE);
    let mut missed = Index::new(Limits::default());
    missed.apply(pod("web", &[("app", Some('a'))]), start);
    missed.replace(vec![pod("other", &[])], start + MINUTE);
    for (name, index, pod_stays) in
        [("replaced", &mut replaced, true), ("deleted", &mut deleted, false), ("missed", &mut missed, false)]
    {
        index.expire(start + 11 * MINUTE - Duration::from_secs(1));
        assert_eq!(find(index, 'a', ""), "web/app", "{name}");
        assert_eq!(index.present().any(|kube| &*kube.pod.name == "web"), pod_stays, "{name}");
        index.expire(start + 11 * MINUTE);
        assert_eq!(find(index, 'a', ""), "", "{name}");
        assert_eq!(find(index, 'z', "uid-web").is_empty(), !pod_stays, "{name}");
    }
    assert_eq!(find(&replaced, 'b', ""), "web/app");
}

#[test]
fn a_previous_container_stays_while_its_status_tells_of_it() {
    let start = Instant::now();
    let mut restarted = pod("web", &[("app", Some('b'))]);
    restarted.containers.iter_mut().for_each(|container| container.previous_id = Some(id('a')));
    let mut index = Index::new(Limits::default());
    index.apply(restarted, start);
    index.expire(start + 60 * MINUTE);
    assert_eq!(find(&index, 'a', ""), "web/app");
    // Told again after it was gone, as by a list that is older than a watch was.
    index.apply(pod("web", &[("app", Some('c'))]), start);
    index.apply(pod("web", &[("app", Some('a'))]), start + MINUTE);
    index.expire(start + 60 * MINUTE);
    assert_eq!(find(&index, 'a', ""), "web/app");
}

#[test]
fn a_static_pod_is_found_by_its_hash() {
    let now = Instant::now();
    let mut mirror = pod("etcd-node-1", &[("etcd", None)]);
    mirror.config_hash = Some("0123456789abcdef0123456789abcdef".into());
    let mut index = Index::new(Limits::default());
    index.apply(mirror, now);
    assert_eq!(find(&index, 'a', "0123456789abcdef0123456789abcdef"), "etcd-node-1?etcd");
    index.delete("uid-etcd-node-1", now);
    index.expire(now + 10 * MINUTE);
    assert_eq!(find(&index, 'a', "0123456789abcdef0123456789abcdef"), "");
    assert!(index.hashes.is_empty());
}

#[test]
fn a_pod_of_the_same_name_is_another() {
    let now = Instant::now();
    let mut second = pod("db-0", &[("db", Some('b'))]);
    second.pod = Arc::new(Pod { uid: "second".into(), ..(*second.pod).clone() });
    let mut index = Index::new(Limits::default());
    index.apply(pod("db-0", &[("db", Some('a'))]), now);
    index.apply(second, now);
    index.delete("uid-db-0", now);
    let present: Vec<_> = index.present().map(|kube| &*kube.pod.uid).collect();
    assert_eq!(present, ["second"]);
    let uid = |letter| match index.find(&id(letter), None) {
        Some(Named::Fully(container)) => container.pod.as_ref().map(|pod| pod.uid.to_string()),
        _ => None,
    };
    assert_eq!((uid('a').as_deref(), uid('b').as_deref()), (Some("uid-db-0"), Some("second")));
}

#[test]
fn at_a_limit_the_longest_gone_makes_room_and_what_is_there_stays() {
    let now = Instant::now();
    let mut index = Index::new(Limits { pods: 2, containers: 2, keep: 10 * MINUTE });
    index.apply(pod("a", &[("x", Some('a'))]), now);
    index.apply(pod("b", &[("x", Some('b'))]), now);
    index.apply(pod("c", &[("x", Some('c'))]), now);
    assert_eq!((find(&index, 'c', "uid-c").as_str(), index.refused()), ("", 1), "no room for a third");
    index.delete("uid-b", now);
    index.delete("uid-a", now + MINUTE);
    index.apply(pod("c", &[("x", Some('c'))]), now + MINUTE);
    assert_eq!(find(&index, 'b', "uid-b"), "", "gone for longest");
    assert_eq!((find(&index, 'a', ""), find(&index, 'c', "")), ("a/x".into(), "c/x".into()));
    index.apply(pod("c", &[("x", Some('c')), ("y", Some('d')), ("z", Some('e'))]), now + MINUTE);
    assert_eq!(find(&index, 'd', ""), "c/y");
    assert_eq!((find(&index, 'e', "uid-c").as_str(), index.refused()), ("c?", 2));
    index.apply(KubePod::default(), now);
    assert_eq!(index.refused(), 3, "one without a UID");
}

#[test]
fn the_same_content_is_the_same_allocation() {
    let now = Instant::now();
    let mut index = Index::new(Limits::default());
    let mut container = || {
        index.apply(pod("web", &[("app", Some('a'))]), now);
        match index.find(&id('a'), None) {
            Some(Named::Fully(container)) => container,
            other => panic!("{other:?}"),
        }
    };
    assert!(Arc::ptr_eq(&container(), &container()));
}
