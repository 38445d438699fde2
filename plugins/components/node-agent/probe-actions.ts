/**
 * What probes and lifecycle hooks do: an HTTP request, a TCP connection, a call of the gRPC health protocol, a command in
 * the container. Each has one outcome within its time-out, and is over then.
 */
import { connect } from 'node:net';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type {
  Container as ContainerDefinition,
  ExecAction,
  GRPCAction,
  HTTPGetAction,
  TCPSocketAction,
} from '../../../kernel/contract/kubernetes.ts';
import type { Runtime } from '../../../kernel/contract/index.ts';
import type { ActionOutcome } from './action-outcome.ts';
import { checkGrpcHealth } from './grpc-health.ts';

export interface Action {
  readonly exec?: ExecAction | undefined;
  readonly httpGet?: HTTPGetAction | undefined;
  readonly tcpSocket?: TCPSocketAction | undefined;
  readonly grpc?: GRPCAction | undefined;
}

export interface ActionPlace {
  readonly runtime: Runtime;
  readonly containerId: string;
  readonly container: ContainerDefinition;
  readonly podIp: string;
}

function portNumber(container: ContainerDefinition, port: number | string): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find((each) => each.name === port)?.containerPort;
  return named ?? Number.parseInt(port, 10);
}

const lateAnswer = 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)';

/** In the words of Go's net package, by which people search. */
const dialFaults: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ETIMEDOUT: 'connect: connection timed out',
};

function faultText(error: NodeJS.ErrnoException, address: string): string {
  const known = error.syscall === 'connect' ? dialFaults[error.code ?? ''] : undefined;
  return known === undefined ? error.message : `dial tcp ${address}: ${known}`;
}

function probeHttp(
  { container, podIp }: ActionPlace,
  action: HTTPGetAction,
  timeoutMs: number,
): Promise<ActionOutcome> {
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
    const timer = setTimeout(() => sent.destroy(new Error(lateAnswer)), timeoutMs);
    sent.on('error', (error) =>
      finish(
        false,
        `Get "${isTls ? 'https' : 'http'}://${host}:${port}${path}": ${faultText(error, `${host}:${port}`)}`,
      ),
    );
    sent.end();
  });
}

function probeTcp(
  { container, podIp }: ActionPlace,
  action: TCPSocketAction,
  timeoutMs: number,
): Promise<ActionOutcome> {
  const host = action.host && action.host !== '' ? action.host : podIp;
  const port = portNumber(container, action.port);
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const finish = (ok: boolean, message: string) => {
      socket.destroy();
      resolve({ ok, message });
    };
    socket.on('connect', () => finish(true, 'connected'));
    socket.on('timeout', () => finish(false, `dial tcp ${host}:${port}: i/o timeout`));
    socket.on('error', (error) => finish(false, faultText(error, `${host}:${port}`)));
  });
}

async function probeExec(
  { runtime, containerId }: ActionPlace,
  action: ExecAction,
  timeoutMs: number,
): Promise<ActionOutcome> {
  const streams = await runtime.exec(containerId, { command: action.command ?? [], stdin: false, tty: false });
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
    const command = JSON.stringify((action.command ?? []).join(' '));
    return { ok: false, message: `command timed out: ${command} timed out after ${timeoutMs / 1000}s` };
  }
  return {
    ok: ended.exitCode === 0,
    message: Buffer.concat(output).toString('utf8').trim() || `exit code ${ended.exitCode}`,
  };
}

/** Never rejects: what goes wrong is the outcome. */
export async function runAction(action: Action, place: ActionPlace, timeoutMs: number): Promise<ActionOutcome> {
  try {
    if (action.httpGet) return await probeHttp(place, action.httpGet, timeoutMs);
    if (action.tcpSocket) return await probeTcp(place, action.tcpSocket, timeoutMs);
    if (action.grpc) return await checkGrpcHealth({ host: place.podIp, ...action.grpc }, timeoutMs);
    if (action.exec) return await probeExec(place, action.exec, timeoutMs);
    return { ok: false, message: `${Object.keys(action).join()} is not supported on this node` };
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : String(error) };
  }
}
