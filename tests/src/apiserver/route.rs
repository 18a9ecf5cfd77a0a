//! What a request asks for.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is done to a resource, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read all.
    List,
    /// Follow all.
    Watch,
    /// Add one.
    Create,
    /// Replace one.
    Update,
    /// Change one.
    Patch,
    /// Remove one.
    Delete,
}

impl Verb {
    /// The word of RBAC.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The API group, empty for the core.
    pub group: Cow<'static, str>,
    /// The group's version.
    pub version: Cow<'static, str>,
    /// The plural, as in the path.
    pub plural: Cow<'static, str>,
}

impl Resource {
    /// `pods` of the core group.
    pub const PODS: Self = Self::of("", "v1", "pods");
    /// `nodes` of the core group.
    pub const NODES: Self = Self::of("", "v1", "nodes");
    /// `events` of `events.k8s.io`.
    pub const EVENTS: Self = Self::of("events.k8s.io", "v1", "events");
    /// What a kubelet serves as `/pods`; to be named in faults and in the log.
    pub const KUBELET_PODS: Self = Self::of("kubelet", "v1", "pods");

    /// By which a client asks what it may do.
    pub const ACCESS_REVIEWS: Self = Self::of("authorization.k8s.io", "v1", "selfsubjectaccessreviews");
    /// What a kubelet asks the API server about, when a client wants to see `/pods`; and what older ones ask.
    pub const NODES_PODS: Self = Self::of("", "v1", "nodes/pods");
    /// See [`Self::NODES_PODS`].
    pub const NODES_PROXY: Self = Self::of("", "v1", "nodes/proxy");

    const fn of(group: &'static str, version: &'static str, plural: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), version: Cow::Borrowed(version), plural: Cow::Borrowed(plural) }
    }

    /// `v1`, `events.k8s.io/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() || *self == Self::KUBELET_PODS {
            return self.version.to_string();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// `Pod` of `pods`.
    pub(super) fn kind(&self) -> String {
        let singular = self.plural.strip_suffix('s').unwrap_or(&self.plural);
        let mut letters = singular.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    }
}

/// A request's path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Route {
    /// Of `/api/v1/namespaces/default/pods/web` and its like; a subresource (`status`) is the object itself.
    pub(super) fn parse(path: &str) -> Option<Self> {
        if path == "/pods" {
            return Some(Self { resource: Resource::KUBELET_PODS, namespace: None, name: None });
        }
        let mut parts = path.trim_start_matches('/').split('/').map(str::to_owned);
        let group = match parts.next()?.as_str() {
            "api" => String::new(),
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let mut namespace = None;
        let mut plural = parts.next().filter(|plural| !plural.is_empty())?;
        let mut name = parts.next();
        if plural == "namespaces" {
            // Without more it is the resource of that name.
            if let Some(inner) = parts.next() {
                (namespace, plural, name) = (name, inner, parts.next());
            }
        }
        let resource = Resource { group: group.into(), version: version.into(), plural: plural.into() };
        Some(Self { resource, namespace, name: name.filter(|name| !name.is_empty()) })
    }

    /// The verb of a method on this path.
    pub(super) fn verb(&self, method: &str, query: &BTreeMap<String, String>) -> Option<Verb> {
        let watches = query.get("watch").is_some_and(|watch| matches!(watch.as_str(), "1" | "true"));
        Some(match (method, &self.name) {
            ("GET", None) if watches => Verb::Watch,
            ("GET", None) => Verb::List,
            ("GET", Some(_)) => Verb::Get,
            ("POST", None) => Verb::Create,
            ("PUT", Some(_)) => Verb::Update,
            ("PATCH", Some(_)) => Verb::Patch,
            ("DELETE", Some(_)) => Verb::Delete,
            _ => return None,
        })
    }
}

/// `a=1&b=%2F` as a map.
pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).unwrap_or(0);
                let (high, low) = (digit(), digit());
                u8::try_from(high * 16 + low).unwrap_or_default()
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
