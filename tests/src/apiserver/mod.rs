//! A Kubernetes API server as far as a node agent sees one: lists, watches, writes, and everything that goes wrong.
//!
//! Real HTTP/1.1 on a real socket. It keeps any resource (`store`), answers as the API server does where a
//! client could tell (field selectors, resource versions, bookmarks, 410, `Status` objects), writes down every
//! request (`log`) and misbehaves when told to (`fault`). What it refuses to store is decided in `admit`.
//! A pod can be added by the handle ([`ApiServer::apply`]) or over HTTP, as with the real one.

mod access;
mod admit;
mod answer;
mod events;
mod fault;
mod list;
mod log;
pub mod pod;
mod route;
mod serve;
mod store;
mod watch;
mod write;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

pub use fault::{Action, Fault};
pub use log::Request;
pub use route::{Resource, Verb};

use access::Access;
use fault::Faults;
use log::Log;
use store::Store;

/// How often a watch that allows bookmarks gets one; the real server's number.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// What the handle and the connections share.
struct Shared {
    store: Mutex<Store>,
    /// The store's version: what watches wait for.
    version: tokio::sync::watch::Sender<u64>,
    faults: Faults,
    access: Access,
    log: Log,
    /// Raised to end all watches; a watch remembers the number that it began with.
    cut: tokio::sync::watch::Sender<u64>,
    present: tokio::sync::watch::Sender<bool>,
    gone_as_status: AtomicBool,
    token: Mutex<Option<String>>,
    bookmark_every: Mutex<Duration>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change of the store, and wakes the watches.
    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store();
        let done = change(&mut store);
        self.version.send_replace(store.version());
        done
    }
}

/// A server that runs until it is dropped.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped with the handle, which ends the server.
    _running: tokio::sync::oneshot::Sender<()>,
}

impl ApiServer {
    /// Serves on a thread and a port of its own: for tests that are not async, and for the lab's guest.
    ///
    /// # Errors
    /// No thread, no runtime, no port.
    pub fn start() -> Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// As [`Self::start`], at this address.
    ///
    /// # Errors
    /// No thread, no runtime, or the address is taken.
    pub fn start_at(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (server, serving) = {
            let _inside = runtime.enter();
            Self::new(address)?
        };
        std::thread::Builder::new().name("apiserver".into()).spawn(move || runtime.block_on(serving))?;
        Ok(server)
    }

    /// Serves on the runtime of the caller, and by its clock: with paused time an hour is nothing.
    ///
    /// # Errors
    /// No port.
    pub fn spawn() -> Result<Self> {
        let (server, serving) = Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        tokio::spawn(serving);
        Ok(server)
    }

    fn new(address: SocketAddr) -> Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let listener = serve::listen(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            version: tokio::sync::watch::Sender::new(0),
            faults: Faults::default(),
            access: Access::default(),
            log: Log::default(),
            cut: tokio::sync::watch::Sender::new(0),
            present: tokio::sync::watch::Sender::new(true),
            gone_as_status: AtomicBool::new(false),
            token: Mutex::default(),
            bookmark_every: Mutex::new(BOOKMARK_EVERY),
        });
        let (running, dropped) = tokio::sync::oneshot::channel();
        // From here on: a server that is told to be away before it runs is away.
        let present = shared.present.subscribe();
        let serving = serve::run(listener, Arc::clone(&shared), present, dropped);
        Ok((Self { address, shared, _running: running }, serving))
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://address`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig file's text for it; `token` is the user's, if one is asked for.
    pub fn kubeconfig(&self, token: Option<&str>) -> String {
        let user = token.map_or_else(|| "{}".to_owned(), |token| format!("{{token: {token:?}}}"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: \"{}\"}}}}]\n\
             users: [{{name: it, user: {user}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n",
            self.url()
        )
    }

    /// Adds an object, or puts it in the place of the one with its name. Answers its resource version.
    pub fn apply(&self, resource: &Resource, object: Value) -> u64 {
        self.shared.change(|store| store.put(resource, object))
    }

    /// Removes an object; whether there was one.
    pub fn delete(&self, resource: &Resource, namespace: &str, name: &str) -> bool {
        self.shared.change(|store| store.delete(resource, namespace, name).is_some())
    }

    /// An object as it is stored.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
        self.shared.store().get(resource, namespace, name).map(|object| (*object).clone())
    }

    /// All objects of a resource, by namespace and name.
    pub fn all(&self, resource: &Resource) -> Vec<Value> {
        self.shared.store().all(resource).iter().map(|object| (**object).clone()).collect()
    }

    /// From now on does this to the requests that it is for. The first fault that fits is the one that happens.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.shared.faults.clear();
    }

    /// From now on the client may not do this; asked about it, the server says so.
    pub fn forbid(&self, verb: Verb, resource: Resource) {
        self.shared.access.forbid(verb, resource);
    }

    /// From now on the client may do everything.
    pub fn permit_all(&self) {
        self.shared.access.permit_all();
    }

    /// Ends all watches in the middle of a chunk.
    pub fn disconnect_watches(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// Forgets the history: a watch from any version before now is answered with 410.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Whether 410 is told as the status of the answer, or (the default) as an ERROR event in a 200.
    pub fn tell_gone_as_status(&self, as_status: bool) {
        self.shared.gone_as_status.store(as_status, Ordering::Relaxed);
    }

    /// From now on asks for this bearer token; everything else is 401.
    pub fn require_token(&self, token: Option<&str>) {
        *self.shared.token.lock().unwrap_or_else(PoisonError::into_inner) = token.map(str::to_owned);
    }

    /// How often watches get a bookmark, from the next watch on.
    pub fn bookmark_every(&self, every: Duration) {
        *self.shared.bookmark_every.lock().unwrap_or_else(PoisonError::into_inner) = every;
    }

    /// Closes the port and every connection (`false`), or opens it again.
    pub fn present(&self, present: bool) {
        self.shared.present.send_replace(present);
    }

    /// The requests so far, in their order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.all()
    }

    /// How many requests with this verb for this resource there were.
    pub fn count(&self, verb: Verb, resource: &Resource) -> usize {
        self.requests().iter().filter(|request| request.is(verb, resource)).count()
    }

    /// Blocks until `enough` says so of the requests, for a minute at most; then what it has.
    pub fn wait_for_requests(&self, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        self.shared.log.wait(enough)
    }

    /// Is ready when `enough` says so of the requests.
    pub async fn requests_until(&self, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        self.shared.log.until(enough).await
    }
}

#[cfg(test)]
mod tests;
