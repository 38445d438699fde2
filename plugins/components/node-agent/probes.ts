/**
 * Startup, readiness and liveness probes: http, tcp and exec, with Kubernetes' thresholds and periods.
 *
 * One prober for each running container and probe; it begins with the container's start and ends with it. Results reach
 * the pod worker through `changed`.
 */
import { connect } from 'node:net';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Container as ContainerDefinition, Probe } from '../../../kernel/contract/kubernetes.ts';
import type { Clock, Runtime } from '../../../kernel/contract/index.ts';

export type ProbeKind = 'startup' | 'readiness' | 'liveness';
export type ProbeOutcome = { readonly ok: boolean; readonly message: string };

/** `undefined` while no threshold has been reached yet. */
export type ProbeVerdict = 'passing' | 'failing' | undefined;

function portNumber(container: ContainerDefinition, port: number | string): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find((each) => each.name === port)?.containerPort;
  return named ?? Number.parseInt(port, 10);
}

function probeHttp(
  container: ContainerDefinition,
  probe: Probe,
  podIp: string,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  const action = probe.httpGet!;
  const isTls = action.scheme === 'HTTPS';
  const host = action.host && action.host !== '' ? action.host : podIp;
  const port = portNumber(container, action.port);
  const path = action.path?.startsWith('/') ? action.path : `/${action.path ?? ''}`;
  const headers: Record<string, string> = { 'user-agent': 'kube-probe/1.36', accept: '*/*', connection: 'close' };
  for (const header of action.httpHeaders ?? []) headers[header.name.toLowerCase()] = header.value;
  return new Promise((resolve) => {
    const call = isTls ? httpsRequest : httpRequest;
    const finish = (ok: boolean, message: string) => {
      clearTimeout(timer);
      resolve({ ok, message });
    };
    const sent = call(
      { host, port, path, method: 'GET', headers, agent: false, rejectUnauthorized: false },
      (response) => {
        const status = response.statusCode ?? 0;
        response.resume();
        sent.destroy();
        const ok = status >= 200 && status < 400;
        finish(ok, `HTTP probe ${ok ? 'succeeded' : 'failed'} with statuscode: ${status}`);
      },
    );
    // Not the socket's own time-out: a server that sends a byte now and then would never reach that.
    const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    sent.on('error', (error) =>
      finish(false, `Get "${isTls ? 'https' : 'http'}://${host}:${port}${path}": ${error.message}`),
    );
    sent.end();
  });
}

function probeTcp(
  container: ContainerDefinition,
  probe: Probe,
  podIp: string,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  const host = probe.tcpSocket!.host && probe.tcpSocket!.host !== '' ? probe.tcpSocket!.host! : podIp;
  const port = portNumber(container, probe.tcpSocket!.port);
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const finish = (ok: boolean, message: string) => {
      socket.destroy();
      resolve({ ok, message });
    };
    socket.on('connect', () => finish(true, 'connected'));
    socket.on('timeout', () => finish(false, `dial tcp ${host}:${port}: i/o timeout`));
    socket.on('error', (error) => finish(false, `dial tcp ${host}:${port}: ${error.message}`));
  });
}

async function probeExec(
  runtime: Runtime,
  containerId: string,
  probe: Probe,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  const streams = await runtime.exec(containerId, { command: probe.exec!.command ?? [], stdin: false, tty: false });
  const output: Buffer[] = [];
  let size = 0;
  const keep = (chunk: Buffer) => {
    size += chunk.length;
    if (size <= 10_240) output.push(chunk);
  };
  streams.stdout?.on('data', keep);
  streams.stderr?.on('data', keep);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  const ended = await Promise.race([streams.exited, late]);
  clearTimeout(timer);
  if (!ended) {
    streams.close();
    return { ok: false, message: `command timed out after ${timeoutMs} ms` };
  }
  return {
    ok: ended.exitCode === 0,
    message: Buffer.concat(output).toString('utf8').trim() || `exit code ${ended.exitCode}`,
  };
}

export async function runProbe(
  runtime: Runtime,
  containerId: string,
  container: ContainerDefinition,
  probe: Probe,
  podIp: string,
): Promise<ProbeOutcome> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.httpGet) return await probeHttp(container, probe, podIp, timeoutMs);
    if (probe.tcpSocket) return await probeTcp(container, probe, podIp, timeoutMs);
    if (probe.exec) return await probeExec(runtime, containerId, probe, timeoutMs);
    return { ok: false, message: `probes of type ${Object.keys(probe).join()} are not supported on this node` };
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : String(error) };
  }
}

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
      const outcome = await runProbe(services.runtime, target.containerId, container, probe, target.podIp());
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
      await services.clock.sleep(periodMs, abort.signal);
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
