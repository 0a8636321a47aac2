//! The replicas of a service as processes on this machine.

pub(crate) mod guardian;
mod ports;
mod probe;
mod replica;
mod stopped;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::data::{DataDir, ReplicaState};
use crate::target::{BookingStores, ShopStores};
use guardian::Guardian;
use replica::Replica;
pub(crate) use replica::signal;
pub(crate) use stopped::{Stopped, process_state};

/// How long all replicas together may take from start to ready. A start takes about 0.1 s; the rest is
/// for a machine that is busy with something else.
const READY: Duration = Duration::from_secs(60);

/// How often a start is tried when other processes take the ports that were free a moment before.
const START_ATTEMPTS: u32 = 5;

/// How blog-api caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Fenced,
    Naive,
}

impl Cache {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Naive => "naive",
        }
    }
}

/// A service of which replicas run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
pub(crate) enum Service {
    #[serde(rename = "blog-api")]
    #[value(name = "blog-api")]
    Blog,
    #[serde(rename = "booking-api")]
    #[value(name = "booking-api")]
    Booking,
    // `lab fault` has no load on these yet.
    #[serde(rename = "shop-api")]
    #[value(skip)]
    Shop,
    #[serde(rename = "shop-worker")]
    #[value(skip)]
    ShopWorker,
}

impl Service {
    /// Its program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Blog => "blog-api",
            Self::Booking => "booking-api",
            Self::Shop => "shop-api",
            Self::ShopWorker => "shop-worker",
        }
    }

    /// The environment variable that names its binary.
    fn variable(self) -> &'static str {
        match self {
            Self::Blog => "LAB_BLOG_API",
            Self::Booking => "LAB_BOOKING_API",
            Self::Shop => "LAB_SHOP_API",
            Self::ShopWorker => "LAB_SHOP_WORKER",
        }
    }

    /// The binary that the environment names, or the one beside this binary.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn binary(self) -> anyhow::Result<PathBuf> {
        std::env::var_os(self.variable()).map_or_else(|| sibling(self.program()), |path| Ok(PathBuf::from(path)))
    }

    /// The flags of `lab up` that set its ports, and its usual ports: of the API and of the admin port.
    fn ports(self) -> [(&'static str, u16); 2] {
        match self {
            Self::Blog => [("--api-port", 18_080), ("--admin-port", 19_080)],
            Self::Booking => [("--booking-api-port", 18_180), ("--booking-admin-port", 19_180)],
            Self::Shop => [("--shop-api-port", 18_280), ("--shop-admin-port", 19_280)],
            Self::ShopWorker => [("--shop-worker-port", 18_380), ("--shop-worker-admin-port", 19_380)],
        }
    }
}

/// What is to run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) service: Service,
    /// Shown on the screen and in the names of the logs.
    pub(crate) name: String,
    pub(crate) replicas: u16,
    /// Settings, as the service takes them from its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// API port of the first replica, the others follow; 0 for free ones.
    pub(crate) api_port: u16,
    /// Admin port of the first replica, the others follow; 0 for free ones.
    pub(crate) admin_port: u16,
    /// Whether free ports are the service's usual ones if they can be, so that URLs look the same from run to run. For one fleet
    /// of a machine: two that start at the same moment would find the same ports free.
    pub(crate) usual_ports: bool,
    /// The service's binary; absent for the one beside the lab's.
    pub(crate) binary: Option<PathBuf>,
    /// Folder for the logs; absent for the one in the data folder of `lab up`.
    pub(crate) logs: Option<PathBuf>,
}

impl Plan {
    fn new(service: Service, environment: Vec<(&'static str, String)>) -> Self {
        let home = HOME.get();
        Self {
            service,
            name: service.program().to_owned(),
            replicas: 1,
            environment,
            api_port: 0,
            admin_port: 0,
            usual_ports: false,
            binary: home.and_then(|home| home.binary(service)),
            logs: home.map(|home| home.logs.clone()),
        }
    }

    /// One replica of blog-api.
    pub(crate) fn blog(database_url: &str, cache_redis_url: &str, cache: Cache) -> Self {
        let environment = vec![
            ("DATABASE_URL", database_url.to_owned()),
            ("CACHE_REDIS_URL", cache_redis_url.to_owned()),
            ("CACHE", cache.as_str().to_owned()),
        ];
        Self::new(Service::Blog, environment)
    }

    /// One replica of booking-api.
    pub(crate) fn booking(stores: &BookingStores) -> Self {
        let mut environment =
            vec![("DATABASE_URL", stores.database_url.clone()), ("LOCK_REDIS_URL", stores.lock_redis_url.clone())];
        if !stores.redlock_redis_urls.is_empty() {
            environment.push(("REDLOCK_REDIS_URLS", stores.redlock_redis_urls.join(",")));
        }
        Self::new(Service::Booking, environment)
    }

    /// One replica of shop-api.
    pub(crate) fn shop(stores: &ShopStores) -> Self {
        Self::new(Service::Shop, stores.environment())
    }

    /// Workers of the shop: one leads, the others stand by.
    pub(crate) fn shop_worker(stores: &ShopStores) -> Self {
        Self { replicas: 2, ..Self::new(Service::ShopWorker, stores.environment()) }
    }

    fn replica(&self, number: usize, (api_port, admin_port): (u16, u16), binary: &Path, logs: &Path) -> Replica {
        // What the plan says comes last, and so wins.
        let mut environment = vec![
            ("LOG_FORMAT", "text".to_owned()),
            // There is no load balancer here that has to notice first.
            ("DRAIN", "0s".to_owned()),
        ];
        environment.extend(self.environment.iter().cloned());
        Replica {
            name: format!("{} {number}", self.name),
            binary: binary.to_owned(),
            api_port,
            admin_port,
            environment,
            log: logs.join(format!("{}-{number}.log", self.name)),
        }
    }
}

/// Where replicas come from and log to, when a [`Plan`] does not say it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) binaries: Vec<(Service, PathBuf)>,
    pub(crate) logs: PathBuf,
}

impl Home {
    pub(crate) fn binary(&self, service: Service) -> Option<PathBuf> {
        self.binaries.iter().find(|(of, _)| *of == service).map(|(_, binary)| binary.clone())
    }
}

static HOME: OnceLock<Home> = OnceLock::new();

/// Says it once for the process, so that the replicas that an experiment starts are of the same build as those of the
/// `lab up` around it, and log beside them.
pub(crate) fn set_home(home: Home) {
    HOME.get_or_init(|| home);
}

/// Replicas that run. Dropping it kills them; [`Self::stop`] lets them finish what they are doing.
#[derive(Debug)]
pub(crate) struct Fleet {
    replicas: Vec<watch::Receiver<ReplicaState>>,
    supervisors: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    // Behind the supervisors: its drop waits until nothing is left to guard.
    _guardian: Arc<Guardian>,
}

impl Fleet {
    /// Starts all replicas, and returns when each of them is ready.
    ///
    /// # Errors
    /// When a port is taken, the binary is missing, or a replica dies or is not ready in time; none
    /// is left running then.
    pub(crate) async fn start(plan: Plan) -> anyhow::Result<Self> {
        let binary = match &plan.binary {
            Some(binary) => binary.clone(),
            None => plan.service.binary()?,
        };
        let logs = match &plan.logs {
            Some(logs) => logs.clone(),
            None => DataDir::locate(std::env::var_os("LAB_DATA").map(PathBuf::from))?.logs(),
        };
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let mut attempt = 1;
        loop {
            let [(api_flag, api), (admin_flag, admin)] = plan.service.ports();
            let usual = |port| plan.usual_ports.then_some(port);
            let api_ports = ports::choose(api_flag, plan.api_port, usual(api), plan.replicas, &[])?;
            let admin_ports = ports::choose(admin_flag, plan.admin_port, usual(admin), plan.replicas, &api_ports)?;
            let chosen: Vec<(u16, u16)> = api_ports.into_iter().zip(admin_ports).collect();
            let replicas =
                chosen.iter().zip(1..).map(|(&ports, number)| plan.replica(number, ports, &binary, &logs)).collect();
            let error = match Self::start_all(replicas).await {
                Ok(fleet) => return Ok(fleet),
                Err(error) => error,
            };
            // Between the choice of a port and its use, another process may have taken it.
            let overtaken = chosen.iter().any(|&(api, admin)| !ports::is_free(api) || !ports::is_free(admin));
            if !overtaken || attempt == START_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn start_all(replicas: Vec<Replica>) -> anyhow::Result<Self> {
        let guardian = Arc::new(Guardian::start()?);
        let mut fleet = Self {
            replicas: Vec::new(),
            supervisors: JoinSet::new(),
            stop: CancellationToken::new(),
            _guardian: guardian.clone(),
        };
        let mut starting = Vec::new();
        for replica in replicas {
            // One log per run of the lab; a restarted replica appends to it.
            std::fs::File::create(&replica.log).with_context(|| format!("cannot write {}", replica.log.display()))?;
            let (state, watched) = watch::channel(replica.state());
            let ready = CancellationToken::new();
            starting.push((replica.name.clone(), replica.log.clone(), ready.clone()));
            fleet.replicas.push(watched);
            fleet.supervisors.spawn(replica.supervise(guardian.clone(), state, ready, fleet.stop.clone()));
        }
        let all_ready = async {
            for (_, _, ready) in &starting {
                ready.cancelled().await;
            }
        };
        let error = tokio::select! {
            () = all_ready => return Ok(fleet),
            Some(ended) = fleet.supervisors.join_next() => match ended.context("a supervisor panicked")? {
                Ok(()) => anyhow::anyhow!("a replica was stopped while it started"),
                Err(error) => error,
            },
            () = tokio::time::sleep(READY) => {
                let late = starting.iter().find(|(_, _, ready)| !ready.is_cancelled());
                let (name, log, _) = late.context("the last replica became ready just now")?;
                anyhow::anyhow!("{name} is not ready after {} s; see its log {}", READY.as_secs(), log.display())
            }
        };
        fleet.stop().await;
        Err(error)
    }

    /// Base URLs of the APIs.
    pub(crate) fn api(&self) -> Vec<String> {
        self.states().into_iter().map(|state| state.api).collect()
    }

    pub(crate) fn states(&self) -> Vec<ReplicaState> {
        self.replicas.iter().map(|state| state.borrow().clone()).collect()
    }

    /// Tells when a replica has died or come back.
    pub(crate) fn changes(&self) -> Changes {
        Changes { replicas: self.replicas.clone() }
    }

    /// Ends every replica: SIGTERM, and SIGKILL for one that has not ended ten seconds later.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.supervisors.join_next().await.is_some() {}
    }
}

/// See [`Fleet::changes`].
#[derive(Debug)]
pub(crate) struct Changes {
    replicas: Vec<watch::Receiver<ReplicaState>>,
}

impl Changes {
    pub(crate) async fn next(&mut self) {
        let changes = self.replicas.iter_mut().map(|state| Box::pin(state.changed()));
        // An error means that the supervisor is gone, which happens at the end only.
        if futures_util::future::select_all(changes).await.0.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The path of this binary, as it was at the start: after a new build in the same place, the kernel
/// calls the file of a running process `lab (deleted)`.
static OWN_BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Looks up [`own_binary`] while it is sure to be right.
pub(crate) fn remember_own_binary() -> anyhow::Result<()> {
    own_binary().map(drop)
}

fn own_binary() -> anyhow::Result<&'static Path> {
    if let Some(path) = OWN_BINARY.get() {
        return Ok(path);
    }
    let path = std::env::current_exe().context("cannot find the lab's own binary")?;
    Ok(OWN_BINARY.get_or_init(|| path))
}

/// The program of that name beside this one.
fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let path = own_binary()?.with_file_name(name);
    if !path.is_file() {
        bail!("there is no {}; build it with `cargo build --release -p {name}`", path.display());
    }
    Ok(path)
}
