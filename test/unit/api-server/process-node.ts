/** A NodeService whose containers are plain processes of this machine: real streams and exit codes, no isolation. */
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { PassThrough, Readable, type Duplex } from 'node:stream';
import {
  PintleError,
  type ExecRequest,
  type LogRequest,
  type NodeService,
  type ProcessExit,
  type ProcessStreams,
} from '../../../kernel/contract/index.ts';

export interface ProcessNode extends NodeService {
  readonly requests: unknown[];
  readonly sizes: { columns: number; rows: number }[];
  running: number;
  /** What `logs` gives; a follower gets what is pushed later too. */
  log(line: string): void;
}

export function processNode(): ProcessNode {
  const lines: string[] = [];
  const followers = new Set<Readable>();
  const node: ProcessNode = {
    requests: [],
    sizes: [],
    running: 0,
    stats: () => Promise.reject(new PintleError('UNAVAILABLE', 'no usage has been sampled yet')),
    metrics: async () => 'kubelet_running_pods 1\n',
    network: () => Promise.reject(new PintleError('UNAVAILABLE', 'this node has no network')),
    log(line) {
      lines.push(line);
      for (const follower of followers) follower.push(`${line}\n`);
    },
    async logs(request: LogRequest, signal) {
      node.requests.push(request);
      if (request.container === 'absent')
        throw new PintleError('BAD_REQUEST', 'container "absent" in pod is waiting to start: ContainerCreating');
      const stream = new Readable({ read: () => undefined });
      const from = request.tailLines === undefined ? 0 : Math.max(0, lines.length - request.tailLines);
      for (const line of lines.slice(from)) stream.push(`${line}\n`);
      if (request.follow === true) {
        followers.add(stream);
        stream.once('close', () => followers.delete(stream));
        signal.addEventListener('abort', () => stream.destroy());
      } else stream.push(null);
      return stream;
    },
    exec: async (request: ExecRequest) => {
      node.requests.push(request);
      return run(node, request.command, request);
    },
    attach: async (request) => {
      node.requests.push(request);
      return run(node, ['cat'], request);
    },
    portForward: (request) => {
      node.requests.push(request);
      return new Promise<Duplex>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port: request.port, allowHalfOpen: true });
        socket.once('connect', () => resolve(socket));
        socket.once('error', (error) => reject(new PintleError('UNAVAILABLE', `connection refused: ${error.message}`)));
      });
    },
  };
  return node;
}

function run(node: ProcessNode, command: readonly string[], wants: { readonly stdin: boolean }): ProcessStreams {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  node.running++;
  // Node throws away what nobody has read of a child's output when the child ends; a PassThrough keeps it.
  const stdout = child.stdout.pipe(new PassThrough());
  const stderr = child.stderr.pipe(new PassThrough());
  if (!wants.stdin) child.stdin.end();
  const exited = new Promise<ProcessExit>((resolve) => {
    child.once('error', (error) => {
      node.running--;
      stdout.end();
      stderr.end();
      resolve({ exitCode: 127, message: error.message });
    });
    child.once('close', (code, signal) => {
      if (child.pid === undefined) return;
      node.running--;
      resolve({ exitCode: code ?? 128 + (signal === null ? 0 : 9) });
    });
  });
  return {
    stdin: wants.stdin ? child.stdin : undefined,
    stdout,
    stderr,
    exited,
    resize: (size) => void node.sizes.push({ ...size }),
    close: () => void child.kill('SIGKILL'),
  };
}
