//! A service of a playbook while it runs: a free port, waiting until it is ready, stopping it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::http::{Question, ask};
use super::service::Service;
use super::words::{filled, split};
use crate::process::{Background, Ended, Program, Stopped, is_interrupted};

/// How long a service may take to be ready that does not say so.
const USUAL_TIME: Duration = Duration::from_secs(10);
/// How long a service may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often to look whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// A service that is ready.
pub(super) struct Running {
    name: String,
    port: u16,
    background: Background,
}

impl Running {
    /// Starts a service and waits until it is ready.
    pub(super) fn start(
        service: &Service,
        values: &BTreeMap<String, String>,
        dressed: impl FnOnce(Program) -> Program,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut values = values.clone();
        values.insert("port".to_owned(), port.to_string());
        let words = split(&service.command).map_err(anyhow::Error::msg)?;
        let fill = |word: &String| {
            if word == "model.apr" {
                values.get("model").cloned().unwrap_or_default()
            } else {
                filled(word, &values, str::to_owned)
            }
        };
        let words: Vec<String> = words.iter().map(fill).collect();
        let (first, rest) = words.split_first().context("the command is empty")?;
        let mut program = dressed(Program::new(first).args(rest));
        for (name, value) in &service.env {
            program = program.env(name, filled(value, &values, str::to_owned));
        }
        let mut running = Self { name: service.name.clone(), port, background: Background::start(&program)? };
        let timeout = service.timeout.map_or(USUAL_TIME, |time| time.0);
        let deadline = Instant::now() + timeout;
        while !running.is_ready(service) {
            if let Some(ended) = running.background.has_ended()? {
                bail!(
                    "`{}` ended before it was ready ({}): {}",
                    running.background.command_line(),
                    word(ended),
                    running.background.output().trim()
                );
            }
            if Instant::now() >= deadline || is_interrupted() {
                bail!(
                    "`{}` is not ready after {} s: {}",
                    running.background.command_line(),
                    timeout.as_secs_f64(),
                    running.background.output().trim()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(running)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What steps may ask for: `name.port` and `name.url`.
    pub(super) fn values(&self) -> [(String, String); 2] {
        [
            (format!("{}.port", self.name), self.port.to_string()),
            (format!("{}.url", self.name), format!("http://127.0.0.1:{}", self.port)),
        ]
    }

    fn is_ready(&self, service: &Service) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        if service.ready.tcp {
            return TcpStream::connect_timeout(&address, POLL).is_ok();
        }
        if let Some(path) = &service.ready.http {
            let question = Question {
                method: "GET",
                url: format!("http://{address}{path}"),
                headers: BTreeMap::new(),
                body: None,
                timeout: Duration::from_secs(1),
            };
            return ask(&question).is_ok_and(|answer| answer.status.is_some_and(|status| status < 300));
        }
        service.ready.output.as_ref().is_some_and(|text| self.background.output().contains(text.as_str()))
    }

    /// Stops it; says what is wrong when it had ended before, would not end, or left something running.
    pub(super) fn stop(mut self) -> anyhow::Result<Option<String>> {
        if let Some(ended) = self.background.has_ended()? {
            return Ok(Some(format!(
                "ended before it was stopped ({}): {}",
                word(ended),
                self.background.output().trim()
            )));
        }
        Ok(complaint(&self.background.stop(GRACE)?))
    }
}

/// What is wrong with how a service took being stopped.
fn complaint(stopped: &Stopped) -> Option<String> {
    if stopped.ended == Ended::TimedOut {
        Some(format!("did not end within {} s of being asked to", GRACE.as_secs()))
    } else if stopped.left_behind.is_empty() {
        None
    } else {
        Some(format!("left {} running: {}", stopped.left_behind.len(), stopped.left_behind.join("; ")))
    }
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn word(ended: Ended) -> String {
    match ended {
        Ended::Exited(code) => format!("exit {code}"),
        Ended::Signalled => "killed by a signal".to_owned(),
        Ended::TimedOut | Ended::OverMemory => "killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_ends_when_asked_and_leaves_nothing_behind() {
        let check = |ended: Ended, left_behind: &[&str], expected: Option<&str>| {
            let left_behind = left_behind.iter().map(|&left| left.to_owned()).collect();
            assert_eq!(complaint(&Stopped { ended, left_behind }).as_deref(), expected, "{ended:?}");
        };
        check(Ended::Signalled, &[], None);
        check(Ended::Exited(3), &[], None);
        check(Ended::Exited(0), &["sleep 30", "cat"], Some("left 2 running: sleep 30; cat"));
        check(Ended::TimedOut, &["cat"], Some("did not end within 5 s of being asked to"));
    }

    #[test]
    fn how_a_service_ended_is_told_in_words() {
        let endings = [Ended::Exited(3), Ended::Signalled, Ended::TimedOut, Ended::OverMemory];
        assert_eq!(endings.map(word), ["exit 3", "killed by a signal", "killed", "killed"]);
    }
}
