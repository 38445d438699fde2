/**
 * Kind `controller`: one reconcile loop, for one kind of object: Deployment, ReplicaSet, Node life cycle ...
 *
 * The component controller-manager decides when a controller runs (leader election); the controller decides what to do.
 * Guarantees: level-triggered. It acts on the difference between spec and world, never on "an event happened", so a
 * restart at any point ends in the same state. It never acts on a cache that has not seen its own last write.
 * Cancellation: `run` resolves soon after the signal aborts, with no work left running.
 * Errors: a failed reconcile is retried with backoff inside `run`; `run` rejects only when it cannot go on, and is then
 * started again with backoff.
 */
export interface Controller {
  run(signal: AbortSignal): Promise<void>;
}
