//! One session: takes deliveries, spawns a task per request, grants the credit back when the task is done.
//!
//! Invariants: at most `credits` requests are worked on at a time (an engine that hands out more is made to wait);
//! every OPEN and READ answered returns exactly one credit; when [`Session::serve`] returns no task of it runs.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::device::{Delivery, Device, DeviceError};
use crate::errno::wire;
use crate::object::Objects;
use crate::volumes::Volumes;
use crate::work;

/// A session with a device.
#[derive(Debug)]
pub(crate) struct Session {
    device: Arc<dyn Device>,
    volumes: Arc<Volumes>,
    objects: Arc<Objects>,
    workers: Arc<Semaphore>,
    tasks: JoinSet<Result<(), DeviceError>>,
}

impl Session {
    pub(crate) fn new(
        device: Arc<dyn Device>,
        volumes: Arc<Volumes>,
        credits: NonZeroU32,
    ) -> Session {
        let workers = Arc::new(Semaphore::new(credits.get() as usize));
        Session {
            device,
            volumes,
            objects: Arc::default(),
            workers,
            tasks: JoinSet::new(),
        }
    }

    /// Serves until the session is over and says why.
    pub(crate) async fn serve(mut self) -> DeviceError {
        let device = Arc::clone(&self.device);
        let reason = loop {
            tokio::select! {
                delivery = device.next() => match delivery {
                    Ok(delivery) => self.start(delivery).await,
                    Err(error) => break error,
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break error,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
            }
        };
        self.tasks.shutdown().await;
        reason
    }

    async fn start(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Close(object_id) => self.objects.remove(object_id),
            Delivery::Rejected { command, errno } => {
                tracing::debug!(
                    command,
                    errno = errno.get(),
                    "the engine rejected a command"
                );
                self.objects.sweep();
            }
            Delivery::OpenWithoutDescriptors(msg_id) => {
                tracing::warn!("an OPEN came without its descriptors: too many open files");
                self.objects.sweep();
                let device = Arc::clone(&self.device);
                self.spawn(async move {
                    device
                        .copen(msg_id, Err(wire(rustix::io::Errno::MFILE)))
                        .await
                })
                .await;
            }
            Delivery::Open(request) => {
                let open = work::open(
                    Arc::clone(&self.device),
                    Arc::clone(&self.volumes),
                    Arc::clone(&self.objects),
                    request,
                );
                self.spawn(open).await;
            }
            Delivery::Read {
                msg_id,
                object_id,
                range,
            } => match self.objects.get(object_id) {
                Some(object) => self.spawn(work::read(object, msg_id, range)).await,
                None => {
                    tracing::warn!(object = object_id.0, "READ for an object that is not open");
                    self.spawn(std::future::ready(Ok(()))).await;
                }
            },
        }
    }

    async fn spawn(
        &mut self,
        request: impl Future<Output = Result<(), DeviceError>> + Send + 'static,
    ) {
        let permit = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        self.tasks
            .spawn(with_credit(Arc::clone(&self.device), permit, request));
    }
}

/// Runs one request, then hands its credit back; the worker is idle again before the engine is told so.
async fn with_credit(
    device: Arc<dyn Device>,
    permit: OwnedSemaphorePermit,
    request: impl Future<Output = Result<(), DeviceError>> + Send,
) -> Result<(), DeviceError> {
    request.await?;
    drop(permit);
    device.credit().await
}
