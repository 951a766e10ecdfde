//! Which servers, as whom, and which instance on them: the options of the NATS tools. And whether these servers can keep
//! what is promised.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use common::error::{Error, exit};
use serde::Deserialize;
use tokio::time::timeout;

use crate::nats::{GIVE_JETSTREAM, Nats};
use crate::put::{Look, Waiting};

/// The first version whose compare-and-set was tested to be one (nats-server#4320).
const VERSION_MIN: (u32, u32) = (2, 12);
/// How long a server may take to answer to a connection.
const CONNECT: Duration = Duration::from_secs(3);
const LOCAL: &str = "nats://127.0.0.1:4222";

/// How the servers are reached.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Connection {
    /// The servers [default: the context's, or `nats://127.0.0.1:4222`]
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Servers"
    )]
    nats: Vec<String>,
    /// Which load balancer on them: its stream is pipip-NAME.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = instance, help_heading = "Servers")]
    pub(crate) instance: String,
    /// On how many servers each entry is kept, when the stream is made.
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = replicas, help_heading = "Servers")]
    replicas: u8,
    /// A credentials file.
    #[arg(long, env = "NATS_CREDS", value_name = "FILE", help_heading = "Servers")]
    creds: Option<PathBuf>,
    /// A user's name, or a token.
    #[arg(long, env = "NATS_USER", value_name = "NAME", help_heading = "Servers")]
    user: Option<String>,
    /// The user's password.
    #[arg(
        long,
        env = "NATS_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD",
        requires = "user",
        help_heading = "Servers"
    )]
    password: Option<String>,
    /// A file with an NKey's seed.
    #[arg(long, env = "NATS_NKEY", value_name = "FILE", help_heading = "Servers")]
    nkey: Option<PathBuf>,
    /// The authority that has signed the servers' certificates.
    #[arg(long, env = "NATS_CA", value_name = "FILE", help_heading = "Servers")]
    tlsca: Option<PathBuf>,
    /// A certificate of one's own, and its key.
    #[arg(
        long,
        env = "NATS_CERT",
        value_name = "FILE",
        requires = "tlskey",
        help_heading = "Servers"
    )]
    tlscert: Option<PathBuf>,
    /// See --tlscert.
    #[arg(
        long,
        env = "NATS_KEY",
        value_name = "FILE",
        requires = "tlscert",
        help_heading = "Servers"
    )]
    tlskey: Option<PathBuf>,
    /// A context of the `nats` command line tool: what is not given here is taken from there. Without this and --nats it is
    /// the one that is selected there, if there is one.
    #[arg(long, env = "NATS_CONTEXT", value_name = "NAME", help_heading = "Servers")]
    context: Option<String>,
    /// The servers' monitoring ports, like `http://a:8222`: where they say whether their `sync_interval` is `always`.
    #[arg(long, value_name = "URL", value_delimiter = ',', help_heading = "Servers")]
    monitor: Vec<String>,
}

/// A context file of the `nats` command line tool, as far as it is about connecting.
#[derive(Debug, Default, Deserialize)]
struct Context {
    #[serde(default)]
    url: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    creds: String,
    #[serde(default)]
    nkey: String,
    #[serde(default)]
    ca: String,
    #[serde(default)]
    cert: String,
    #[serde(default)]
    key: String,
}

fn instance(name: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=64).contains(&name.len()) && name.chars().all(is_valid);
    fits.then(|| name.to_owned())
        .ok_or_else(|| "must be 1 to 64 letters, digits, `-` or `_`".to_owned())
}

fn replicas(digits: &str) -> Result<u8, String> {
    let replicas = digits.parse().ok().filter(|it| [1, 3, 5].contains(it));
    replicas.ok_or_else(|| "must be 1, 3 or 5".to_owned())
}

fn trouble(what: String) -> Error {
    Error::Own { what, code: exit::TROUBLE }
}

fn usage(what: String) -> Error {
    Error::Own { what, code: exit::USAGE }
}

/// Where the `nats` command line tool has its settings.
fn nats_config() -> PathBuf {
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    config.unwrap_or_default().join("nats")
}

impl Connection {
    /// The same as arguments, for a worker …
    pub(crate) fn to_args(&self) -> [String; 2] {
        [format!("--instance={}", self.instance), format!("--replicas={}", self.replicas)]
    }

    /// … and as its environment, which only this user can read: URLs and names may be secrets.
    pub(crate) fn to_env(&self) -> BTreeMap<&'static str, OsString> {
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        let text = |text: &Option<String>| text.clone().map(OsString::from);
        let nats = (!self.nats.is_empty()).then(|| self.nats.join(",").into());
        let all = [
            ("NATS_URL", nats),
            ("NATS_CREDS", path(&self.creds)),
            ("NATS_USER", text(&self.user)),
            ("NATS_PASSWORD", text(&self.password)),
            ("NATS_NKEY", path(&self.nkey)),
            ("NATS_CA", path(&self.tlsca)),
            ("NATS_CERT", path(&self.tlscert)),
            ("NATS_KEY", path(&self.tlskey)),
            ("NATS_CONTEXT", text(&self.context)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn context(&self) -> Result<Context, Error> {
        // The one that is selected there is meant if nothing is said.
        let selected = || {
            let name = std::fs::read_to_string(nats_config().join("context.txt")).ok()?;
            Some(name.trim().to_owned()).filter(|name| !name.is_empty() && self.nats.is_empty())
        };
        let Some(name) = self.context.clone().or_else(selected) else {
            return Ok(Context::default());
        };
        let file = nats_config().join("context").join(format!("{name}.json"));
        let text = std::fs::read_to_string(&file)
            .map_err(|why| usage(format!("context {name}: {}: {why}", file.display())))?;
        serde_json::from_str(&text)
            .map_err(|why| usage(format!("context {name}: {}: {why}", file.display())))
    }

    fn addresses(&self, context: &Context) -> Result<Vec<ServerAddr>, Error> {
        let urls: Vec<&str> = if !self.nats.is_empty() {
            self.nats.iter().map(String::as_str).collect()
        } else if !context.url.is_empty() {
            context.url.split(',').collect()
        } else {
            vec![LOCAL]
        };
        let parse = |url: &str| {
            let parsed = url.trim().parse();
            parsed.map_err(|why| usage(format!("--nats {url}: {why}; write it like {LOCAL}")))
        };
        urls.into_iter().map(parse).collect()
    }

    async fn options(&self, context: &Context) -> Result<ConnectOptions, Error> {
        let given = |own: &Option<PathBuf>, its: &str| {
            own.clone().or_else(|| (!its.is_empty()).then(|| PathBuf::from(its)))
        };
        let text = |own: &Option<String>, its: &str| {
            own.clone().or_else(|| (!its.is_empty()).then(|| its.to_owned()))
        };
        let mut options = ConnectOptions::new()
            .name("pipip cluster")
            .connection_timeout(CONNECT)
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|tries| Duration::from_millis((50 * tries as u64).min(1000)));
        if let Some(file) = given(&self.creds, &context.creds) {
            options = options
                .credentials_file(&file)
                .await
                .map_err(|why| usage(format!("--creds {}: {why}", file.display())))?;
        } else if let Some(file) = given(&self.nkey, &context.nkey) {
            let seed = std::fs::read_to_string(&file)
                .map_err(|why| usage(format!("--nkey {}: {why}", file.display())))?;
            options = options.nkey(seed.trim().to_owned());
        } else if let Some(user) = text(&self.user, &context.user) {
            // As the `nats` tool has it: a name without a password is a token.
            options = match text(&self.password, &context.password) {
                Some(password) => options.user_and_password(user, password),
                None => options.token(user),
            };
        } else if !context.token.is_empty() {
            options = options.token(context.token.clone());
        }
        let is_there = |file: &PathBuf| {
            std::fs::metadata(file)
                .map(drop)
                .map_err(|why| usage(format!("{}: {why}", file.display())))
        };
        if let Some(file) = given(&self.tlsca, &context.ca) {
            is_there(&file)?;
            options = options.add_root_certificates(file).require_tls(true);
        }
        let pair = (given(&self.tlscert, &context.cert), given(&self.tlskey, &context.key));
        if let (Some(cert), Some(key)) = pair {
            is_there(&cert)?;
            is_there(&key)?;
            options = options.add_client_certificate(cert, key).require_tls(true);
        }
        Ok(options)
    }

    /// Connects to one of the servers, for as long as it takes; and refuses what cannot keep the promises. The stream is
    /// made if it is not there.
    pub(crate) async fn open(&self, look: Look) -> Result<Nats, Error> {
        let nats = self.connect(look).await?;
        let config = Self::ensure(&nats, Some(self.replicas.into()), look).await?;
        self.check_stream(&nats, &config)?;
        Ok(nats)
    }

    /// The same for whoever only looks: the stream is as it is.
    pub(crate) async fn find(&self, look: Look) -> Result<Nats, Error> {
        let nats = self.connect(look).await?;
        Self::ensure(&nats, None, look).await?;
        Ok(nats)
    }

    async fn ensure(
        nats: &Nats,
        replicas: Option<usize>,
        look: Look,
    ) -> Result<async_nats::jetstream::stream::Config, Error> {
        let mut waiting = Waiting::default();
        loop {
            if let Some(config) = nats.ensure(replicas).await? {
                waiting.is_over();
                return Ok(config);
            }
            let server = nats.server();
            if !server.jetstream {
                let what = format!(
                    "NATS server {} has no JetStream: {GIVE_JETSTREAM}",
                    server.server_name
                );
                return Err(trouble(what));
            }
            waiting.again("the stream cannot be opened or made", look).await?;
        }
    }

    async fn connect(&self, look: Look) -> Result<Nats, Error> {
        let context = self.context()?;
        let addresses = self.addresses(&context)?;
        let shown: Vec<_> =
            addresses.iter().map(|it| format!("{}:{}", it.host(), it.port())).collect();
        let shown = shown.join(", ");
        let mut waiting = Waiting::default();
        let client = loop {
            let options = self.options(&context).await?;
            match options.connect(&addresses[..]).await {
                Ok(client) => break client,
                Err(why) => match why.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        let what = format!(
                            "{shown}: {why}; give --creds, --nkey, or --user and --password, or a --context of \
                             the `nats` tool"
                        );
                        return Err(trouble(what));
                    }
                    // A certificate of nobody's is an error of reading.
                    kind if kind == ConnectErrorKind::Tls
                        || why.to_string().contains("certificate") =>
                    {
                        return Err(trouble(format!(
                            "{shown}: {why}; --tlsca names the authority"
                        )));
                    }
                    _ => waiting.again(&format!("no connection to {shown}: {why}"), look).await?,
                },
            }
        };
        self.check_versions(&context, &addresses, &client).await?;
        self.check_sync().await?;
        waiting.is_over();
        Ok(Nats::new(client, &self.instance))
    }

    /// Each server that is named and answers: this process may be connected to another one soon.
    async fn check_versions(
        &self,
        context: &Context,
        addresses: &[ServerAddr],
        client: &Client,
    ) -> Result<(), Error> {
        let mut servers = vec![client.server_info()];
        for address in addresses.iter().filter(|_| addresses.len() > 1) {
            let options = self.options(context).await?;
            if let Ok(Ok(other)) = timeout(CONNECT, options.connect(address.clone())).await {
                servers.push(other.server_info());
            }
        }
        for server in servers {
            let mut parts = server.version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
            let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
            if version < VERSION_MIN {
                let what = format!(
                    "NATS server {} is version {}: an append on a condition is not one there (nats-server#4320); \
                     install {}.{} or later",
                    server.server_name, server.version, VERSION_MIN.0, VERSION_MIN.1
                );
                return Err(trouble(what));
            }
        }
        Ok(())
    }

    /// What is acknowledged must be on a disk, or a power failure takes it: the servers' default is every two minutes.
    async fn check_sync(&self) -> Result<(), Error> {
        for url in &self.monitor {
            match crate::monitor::sync_always(url).await {
                Ok(true) => {}
                Ok(false) => {
                    let what = format!(
                        "the NATS server at {url} does not write through: a power failure takes what was accepted; set \
                         `sync_interval: always` in its `jetstream {{ }}`"
                    );
                    return Err(trouble(what));
                }
                // It may be the one that is down.
                Err(why) => common::note!(
                    "cluster: --monitor {url}: {why}: whether that server writes through is not known"
                ),
            }
        }
        Ok(())
    }

    /// Whether the servers were asked how they sync.
    pub(crate) fn knows_sync(&self) -> bool {
        !self.monitor.is_empty()
    }

    fn check_stream(
        &self,
        nats: &Nats,
        config: &async_nats::jetstream::stream::Config,
    ) -> Result<(), Error> {
        use async_nats::jetstream::stream::{RetentionPolicy, StorageType};
        let forgets = config.max_messages > 0
            || config.max_bytes > 0
            || !config.max_age.is_zero()
            || config.max_messages_per_subject > 0
            || config.retention != RetentionPolicy::Limits;
        let (stream, has) = (nats.stream(), config.num_replicas);
        let wrong = if forgets {
            "it forgets entries (limits on number, size or age, or another retention)"
        } else if config.storage != StorageType::File {
            "it is kept in memory"
        } else if config.allow_direct {
            "it may be read from servers that do not know the newest (allow_direct)"
        } else {
            ""
        };
        if !wrong.is_empty() {
            let what = format!(
                "stream {stream} is not as it was made: {wrong}; give another --instance, or change it with the `nats` tool"
            );
            return Err(trouble(what));
        }
        if has < usize::from(self.replicas) {
            let what = format!(
                "stream {stream} is kept on {has} server(s), not on {}: what was accepted is lost with them; to change \
                 it: `nats stream edit {stream} --replicas {}`, or say `--replicas {has}`",
                self.replicas, self.replicas
            );
            return Err(trouble(what));
        }
        Ok(())
    }
}
