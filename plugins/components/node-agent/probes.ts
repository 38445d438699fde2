/**
 * Startup, readiness and liveness probes, with Kubernetes' thresholds and periods.
 *
 * One prober for each running container and probe; it begins with the container's start and ends with it. Results reach
 * the pod worker through `changed`.
 */
import type { Container as ContainerDefinition, Probe } from '../../../kernel/contract/kubernetes.ts';
import type { Clock, Runtime } from '../../../kernel/contract/index.ts';
import { runAction } from './probe-actions.ts';

const secondLookMs = 1000;

export type ProbeKind = 'startup' | 'readiness' | 'liveness';

export interface ProberTarget {
  readonly containerId: string;
  readonly container: ContainerDefinition;
  readonly startedMs: number;
  /** What an earlier agent had found of this very container: it holds until a probe says otherwise. */
  readonly known?: { readonly started: boolean; readonly ready: boolean } | undefined;
  podIp(): string;
}

export interface ContainerProbes {
  /** True without a startup probe or once it has passed. */
  readonly started: boolean;
  readonly ready: boolean;
  /** The message of the liveness or startup probe that has failed for good; the container must be restarted. */
  readonly failure: { readonly kind: ProbeKind; readonly message: string } | undefined;
  stop(): void;
}

/** Runs a container's probes until `stop`. `changed` is called when started, ready or failure changed; `warn` for each failed try. */
export function startProbes(
  target: ProberTarget,
  services: { readonly runtime: Runtime; readonly clock: Clock },
  changed: () => void,
  warn: (kind: ProbeKind, message: string) => void,
): ContainerProbes {
  const { container } = target;
  const abort = new AbortController();
  const state = {
    started: container.startupProbe === undefined || target.known?.started === true,
    ready: container.readinessProbe === undefined || target.known?.ready === true,
    failure: undefined as ContainerProbes['failure'],
  };

  async function loop(
    kind: ProbeKind,
    probe: Probe,
    onVerdict: (verdict: 'passing' | 'failing', message: string) => boolean,
  ) {
    const periodMs = (probe.periodSeconds ?? 10) * 1000;
    const successes = kind === 'readiness' ? (probe.successThreshold ?? 1) : 1;
    const failures = probe.failureThreshold ?? 3;
    const delayMs = target.startedMs + (probe.initialDelaySeconds ?? 0) * 1000 - services.clock.now();
    if (delayMs > 0) await services.clock.sleep(delayMs, abort.signal);
    let passed = 0;
    let failed = 0;
    while (!abort.signal.aborted) {
      const place = { ...target, runtime: services.runtime, podIp: target.podIp() };
      const outcome = await runAction(probe, place, (probe.timeoutSeconds ?? 1) * 1000);
      if (abort.signal.aborted) return;
      if (outcome.ok) {
        failed = 0;
        passed += 1;
        if (passed >= successes && onVerdict('passing', outcome.message)) return;
      } else {
        passed = 0;
        failed += 1;
        warn(kind, outcome.message);
        if (failed >= failures && onVerdict('failing', outcome.message)) return;
      }
      // A kubelet looks at a new container when it is up to a second old: what is not ready as soon as it runs does not wait
      // for a whole period either.
      const earlyMs = kind === 'readiness' && !outcome.ok ? target.startedMs + secondLookMs - services.clock.now() : 0;
      await services.clock.sleep(earlyMs > 0 ? Math.min(earlyMs, periodMs) : periodMs, abort.signal);
    }
  }

  const guard = (work: Promise<void>) =>
    void work.catch((error: unknown) => {
      if (!abort.signal.aborted) throw error;
    });

  function startLater(): void {
    if (container.readinessProbe) {
      guard(
        loop('readiness', container.readinessProbe, (verdict) => {
          if (state.ready !== (verdict === 'passing')) {
            state.ready = verdict === 'passing';
            changed();
          }
          return false;
        }),
      );
    }
    if (container.livenessProbe) {
      guard(
        loop('liveness', container.livenessProbe, (verdict, message) => {
          if (verdict === 'passing') return false;
          state.failure = { kind: 'liveness', message };
          changed();
          return true;
        }),
      );
    }
  }

  if (container.startupProbe && !state.started) {
    guard(
      loop('startup', container.startupProbe, (verdict, message) => {
        if (verdict === 'passing') {
          state.started = true;
          startLater();
        } else state.failure = { kind: 'startup', message };
        changed();
        return true;
      }),
    );
  } else startLater();

  return {
    get started() {
      return state.started;
    },
    get ready() {
      return state.ready;
    },
    get failure() {
      return state.failure;
    },
    stop: () => abort.abort(),
  };
}
