//! Sends one kind of message to an actor, and outlives the actor.

use std::{sync::Arc, time::Duration};

use actix::{
    Actor, Addr, Context, Handler, Message, Recipient, dev::ToEnvelope, prelude::SendError,
};
use arc_swap::ArcSwapOption;

/// How long the reply to a message is awaited.
const PATIENCE: Duration = Duration::from_secs(2);

/// The destination of messages of type `M`. An actor that is replaced gets another address, so nobody keeps addresses: messages are
/// sent through the mailbox, and the watchdog attaches the new actor to it.
pub(super) struct Mailbox<M>(ArcSwapOption<Recipient<M>>)
where
    M: Message + Send + 'static,
    M::Result: Send;

impl<M> Default for Mailbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<M> Mailbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// Queues a message without waiting.
    ///
    /// # Errors
    ///
    /// Returns the message: `Full` if too many are queued, `Closed` if there is no actor at the moment.
    pub fn tell(&self, message: M) -> Result<(), SendError<M>> {
        match &*self.0.load() {
            Some(recipient) => recipient.try_send(message),
            None => Err(SendError::Closed(message)),
        }
    }

    /// Sends a message and waits for its result, at most two seconds. None if the actor is gone or does not answer.
    pub async fn ask(&self, message: M) -> Option<M::Result> {
        let recipient = self.0.load_full()?;
        recipient.send(message).timeout(PATIENCE).await.ok()
    }

    /// Delivers to the actor at this address from now on.
    pub fn attach<A>(&self, address: &Addr<A>)
    where
        A: Actor<Context = Context<A>> + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.0.store(Some(Arc::new(address.clone().recipient())));
    }
}
