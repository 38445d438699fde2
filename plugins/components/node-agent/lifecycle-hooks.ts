/** postStart and preStop: an action in or against the container, or a sleep. */
import type { LifecycleHandler } from '../../../kernel/contract/kubernetes.ts';
import type { Clock } from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import type { ActionOutcome } from './action-outcome.ts';
import { runAction, type ActionPlace } from './probe-actions.ts';

/** A postStart hook has no time-out in Kubernetes either, but a timer has a longest delay. */
const longestMs = 2 ** 31 - 1;

/** Resolves when the hook is over; when `signal` aborts, a sleep ends at once. Never rejects. */
export async function runHook(
  handler: LifecycleHandler,
  place: ActionPlace,
  clock: Clock,
  signal: AbortSignal,
  timeoutMs = longestMs,
): Promise<ActionOutcome> {
  if (!handler.sleep) return runAction(handler, place, Math.min(timeoutMs, longestMs));
  await pause(clock, Math.min(handler.sleep.seconds * 1000, timeoutMs), signal);
  return { ok: true, message: '' };
}

/** What kubelet calls the hook in its events. */
export function hookName(handler: LifecycleHandler): string {
  if (handler.exec) return `Exec lifecycle hook ([${(handler.exec.command ?? []).join(' ')}])`;
  if (handler.httpGet) return `HTTP lifecycle hook (${handler.httpGet.path ?? '/'})`;
  return handler.sleep ? `Sleep lifecycle hook (${handler.sleep.seconds}s)` : 'Lifecycle hook';
}
