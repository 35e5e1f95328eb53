//! One actor under supervision: started on its own thread, pinged, and replaced when it is dead or stuck.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context, Handler};
use actix_rt::Arbiter;
use tracing::{error, warn};

use super::{actor_name::ActorName, directory::Directory, lease::Lease, messages::Ping};
use crate::traffic::published::ActorStatus;

/// An actor that the watchdog can start, ping and replace. [`supervised!`] implements it.
pub(super) trait Supervised: Actor<Context = Context<Self>> + Handler<Ping> + Send {
    const NAME: ActorName;

    /// Attaches the actor at this address to all its mailboxes.
    fn attach(address: &Addr<Self>, directory: &Directory);
}

/// `supervised!(Tuner, hears set_level, roll_back)`: the actor's name, and its mailboxes in the directory.
macro_rules! supervised {
    ($actor:ident, hears $($mailbox:ident),+) => {
        impl $crate::actors::supervised_actor::Supervised for $actor {
            const NAME: $crate::actors::actor_name::ActorName =
                $crate::actors::actor_name::ActorName::$actor;

            fn attach(
                address: &actix::Addr<Self>,
                directory: &$crate::actors::directory::Directory,
            ) {
                $(directory.$mailbox.attach(address);)+
                #[cfg(feature = "testing")]
                directory.fault(Self::NAME).attach(address);
            }
        }

        impl actix::Handler<$crate::actors::messages::Ping> for $actor {
            type Result = ();

            fn handle(&mut self, _: $crate::actors::messages::Ping, _: &mut Self::Context) {}
        }

        #[cfg(feature = "testing")]
        impl actix::Handler<$crate::actors::fault::Fault> for $actor {
            type Result = ();

            fn handle(&mut self, fault: $crate::actors::fault::Fault, _: &mut Self::Context) {
                fault.happen();
            }
        }
    };
}
pub(super) use supervised;

/// One actor, and how to create its successor.
pub(super) struct SupervisedActor<A: Supervised> {
    directory: Arc<Directory>,
    make: Box<dyn Fn(Lease) -> A>,
    address: Option<Addr<A>>,
    thread: Option<Arbiter>,
    lease: Lease,
    /// When the unanswered ping was sent; none if all are answered.
    pinged: Rc<Cell<Option<Instant>>>,
    status: ActorStatus,
}

impl<A: Supervised> SupervisedActor<A> {
    /// Starts an actor on its own thread. `make` is called now, and for each successor.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub fn start(
        directory: Arc<Directory>,
        make: impl Fn(Lease) -> A + 'static,
    ) -> io::Result<Self> {
        let mut actor = Self {
            directory,
            make: Box::new(make),
            address: None,
            thread: None,
            lease: Lease::default(),
            pinged: Rc::default(),
            status: ActorStatus::default(),
        };
        actor.begin()?;
        Ok(actor)
    }

    fn begin(&mut self) -> io::Result<()> {
        self.retire();
        let thread = Arbiter::try_new()?;
        self.lease = Lease::default();
        self.pinged = Rc::default();
        let actor = (self.make)(self.lease.clone());
        let address = A::start_in_arbiter(&thread.handle(), move |_| actor);
        A::attach(&address, &self.directory);
        self.address = Some(address);
        self.thread = Some(thread);
        self.status.running = true;
        Ok(())
    }

    /// Revokes the lease and lets the thread end as soon as possible: one that hangs ends when it wakes up.
    fn retire(&mut self) {
        self.lease.revoke();
        if let Some(thread) = self.thread.take() {
            thread.stop();
        }
    }

    fn replace(&mut self, why: &str, now: Instant) {
        let actor = A::NAME.as_str();
        self.status.running = false;
        self.status.restarts += 1;
        self.status.restarted = Some(now);
        match self.begin() {
            Ok(()) => warn!(
                actor,
                why,
                restarts = self.status.restarts,
                "actor started anew"
            ),
            Err(error) => error!(actor, why, %error, "actor could not be started anew"),
        }
    }
}

/// The watchdog's interface to an actor of any type.
pub(super) trait Watched {
    /// Pings the actor, or replaces it if it is dead, or has not answered a ping for `patience`.
    fn look(&mut self, now: Instant, patience: Duration);

    /// The actor's name and state.
    fn status(&self) -> (&'static str, ActorStatus);
}

impl<A: Supervised> Watched for SupervisedActor<A> {
    fn look(&mut self, now: Instant, patience: Duration) {
        let Some(address) = self.address.clone() else {
            return;
        };
        if !address.connected() {
            return self.replace("it panicked", now);
        }
        match self.pinged.get() {
            Some(pinged) if now.saturating_duration_since(pinged) >= patience => {
                self.replace("it does not answer", now);
            }
            Some(_) => {}
            None => {
                self.pinged.set(Some(now));
                let pinged = self.pinged.clone();
                actix_rt::spawn(async move {
                    if address.send(Ping).await.is_ok() {
                        pinged.set(None);
                    }
                });
            }
        }
    }

    fn status(&self) -> (&'static str, ActorStatus) {
        (A::NAME.as_str(), self.status)
    }
}

impl<A: Supervised> Drop for SupervisedActor<A> {
    fn drop(&mut self) {
        self.retire();
    }
}
