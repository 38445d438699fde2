/**
 * A process inside one network namespace that listens and connects when told to. Started by topology.ts with fork(), so
 * that its sockets are where the process is.
 */
import dgram from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';

export type Command =
  | {
      readonly verb: 'listenTcp' | 'listenUdp';
      readonly port: number;
      readonly name: string;
      readonly address?: string;
    }
  | {
      readonly verb: 'tcp' | 'udp';
      readonly host: string;
      readonly port: number;
      readonly localAddress?: string;
      readonly localPort?: number;
      readonly timeoutMs?: number;
      /** Bytes to send; TCP servers answer with a line and how many bytes they got. */
      readonly bytes?: number;
    }
  /** The answer to `sctp` is what the server says to whoever comes. IPv4 only. */
  | { readonly verb: 'listenSctp'; readonly port: number; readonly name: string }
  | { readonly verb: 'sctp'; readonly host: string; readonly port: number; readonly timeoutMs?: number }
  | { readonly verb: 'openTcp'; readonly id: string; readonly host: string; readonly port: number }
  | { readonly verb: 'exchange'; readonly id: string; readonly text: string; readonly timeoutMs?: number }
  /** Opens connections at a rate until told to stop; `storm` answers "<opened> <failed> <errors>". */
  | { readonly verb: 'startStorm'; readonly host: string; readonly port: number; readonly perSecond: number }
  | { readonly verb: 'storm' | 'stopStorm' }
  | { readonly verb: 'close'; readonly port: number };

/** `answer`: "<name> <client address>". `error`: the errno, or TIMEOUT. */
export interface Answer {
  readonly answer?: string;
  readonly error?: string;
}

/** Few are asked for it, and its library is a quarter of what a prober's start takes. */
const sctp = () => import('./sctp.ts');

/** After so long without an answer a question over UDP is asked once more. */
const udpAgainMs = 3_000;

const servers = new Map<number, { close(): unknown }>();
const open = new Map<string, Socket>();

const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

function listenTcp(port: number, name: string, address: string | undefined): Promise<Answer> {
  return new Promise((resolve) => {
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
      let received = 0;
      let greeted = false;
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        received += chunk.length;
        // A line is answered at once (long-lived connections); bulk is counted until the client ends.
        if (received < 200 && chunk.includes(10)) {
          greeted = true;
          socket.write(`${name} ${plain(socket.remoteAddress)}\n`);
        }
      });
      socket.on('end', () => socket.end(greeted ? '' : `${name} ${plain(socket.remoteAddress)} ${received}\n`));
    });
    server.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? 'UNKNOWN' }));
    server.listen({ port, host: address ?? '::' }, () => resolve({ answer: 'listening' }));
    servers.set(port, server);
  });
}

function listenUdp(port: number, name: string, address: string | undefined): Promise<Answer> {
  return new Promise((resolve) => {
    const isV4 = address === undefined || !address.includes(':');
    const socket = dgram.createSocket(isV4 ? { type: 'udp4' } : { type: 'udp6', ipv6Only: true });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? 'UNKNOWN' }));
    socket.on('message', (_, from) => socket.send(`${name} ${plain(from.address)}`, from.port, from.address));
    socket.bind({ port, ...(address === undefined ? {} : { address }) }, () => resolve({ answer: 'listening' }));
    servers.set(-port, socket);
  });
}

function tcp(command: Extract<Command, { verb: 'tcp' | 'udp' }>): Promise<Answer> {
  return new Promise((resolve) => {
    const { host, port, localAddress, localPort, bytes } = command;
    const socket = connect({ host, port, localAddress, localPort, allowHalfOpen: true });
    let text = '';
    const done = (answer: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done({ error: 'TIMEOUT' }), command.timeoutMs ?? 30_000);
    socket.on('error', (error: NodeJS.ErrnoException) => done({ error: error.code ?? 'UNKNOWN' }));
    socket.on('connect', () => socket.end(bytes === undefined ? '' : Buffer.alloc(bytes, 'x')));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('end', () => done({ answer: text.trim() }));
  });
}

function udp(command: Extract<Command, { verb: 'tcp' | 'udp' }>): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(command.host.includes(':') ? 'udp6' : 'udp4');
    const done = (answer: Answer): void => {
      clearTimeout(timer);
      clearInterval(again);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done({ error: 'TIMEOUT' }), command.timeoutMs ?? 30_000);
    // A datagram may be lost. Who names his port counts them, or their flow.
    const again = command.localPort === undefined ? setInterval(() => send(), udpAgainMs) : undefined;
    const send = (): void => {
      if (isConnected) socket.send(Buffer.alloc(command.bytes ?? 1, '?'));
    };
    let isConnected = false;
    socket.on('error', (error: NodeJS.ErrnoException) => done({ error: error.code ?? 'UNKNOWN' }));
    socket.on('message', (message) => done({ answer: message.toString() }));
    // Connected, so that an ICMP error comes back as ECONNREFUSED.
    socket.bind({ port: command.localPort ?? 0 }, () => {
      socket.connect(command.port, command.host, () => {
        isConnected = true;
        send();
      });
    });
  });
}

function openTcp(id: string, host: string, port: number): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? 'UNKNOWN' }));
    socket.on('connect', () => {
      open.set(id, socket);
      resolve({ answer: 'open' });
    });
  });
}

function exchange(id: string, text: string, timeoutMs: number): Promise<Answer> {
  const socket = open.get(id);
  if (socket === undefined) return Promise.resolve({ error: 'NOT_OPEN' });
  return new Promise((resolve) => {
    const done = (answer: Answer): void => {
      clearTimeout(timer);
      socket.removeAllListeners('data');
      resolve(answer);
    };
    const timer = setTimeout(() => done({ error: 'TIMEOUT' }), timeoutMs);
    socket.on('data', (chunk) => done({ answer: chunk.toString().trim() }));
    socket.write(`${text}\n`);
  });
}

const storm = { opened: 0, errors: [] as string[], waiting: new Set<Promise<void>>() };
let stormTimer: NodeJS.Timeout | undefined;
/** So many at the same time at most: a slow machine opens fewer, and fails none by its own haste. */
const stormWidth = 100;

function startStorm(host: string, port: number, perSecond: number): void {
  const began = performance.now();
  let due = 0;
  const one = async (): Promise<void> => {
    const { error } = await tcp({ verb: 'tcp', host, port, timeoutMs: 30_000 });
    if (error === undefined) storm.opened += 1;
    else storm.errors.push(error);
  };
  stormTimer = setInterval(() => {
    for (const end = ((performance.now() - began) * perSecond) / 1_000; due < end; due += 1) {
      if (storm.waiting.size >= stormWidth) continue;
      const waiting = one().finally(() => storm.waiting.delete(waiting));
      storm.waiting.add(waiting);
    }
  }, 5);
}

const stormAnswer = (): Answer => ({
  answer: `${storm.opened} ${storm.errors.length} ${[...new Set(storm.errors)].join(',')}`.trim(),
});

async function stopStorm(): Promise<Answer> {
  clearInterval(stormTimer);
  await Promise.all(storm.waiting);
  const answer = stormAnswer();
  storm.opened = 0;
  storm.errors = [];
  return answer;
}

function run(command: Command): Promise<Answer> {
  switch (command.verb) {
    case 'listenTcp':
      return listenTcp(command.port, command.name, command.address);
    case 'listenUdp':
      return listenUdp(command.port, command.name, command.address);
    case 'tcp':
      return tcp(command);
    case 'udp':
      return udp(command);
    case 'listenSctp':
      return sctp().then(({ listenSctp }) => listenSctp(command.port, command.name));
    case 'sctp':
      return sctp().then(({ askSctp }) => askSctp(command.host, command.port, command.timeoutMs ?? 30_000));
    case 'openTcp':
      return openTcp(command.id, command.host, command.port);
    case 'exchange':
      return exchange(command.id, command.text, command.timeoutMs ?? 30_000);
    case 'startStorm':
      startStorm(command.host, command.port, command.perSecond);
      return Promise.resolve({ answer: 'started' });
    case 'storm':
      return Promise.resolve(stormAnswer());
    case 'stopStorm':
      return stopStorm();
    case 'close':
      servers.get(command.port)?.close();
      servers.delete(command.port);
      return Promise.resolve({ answer: 'closed' });
  }
}

process.on('message', ({ id, command }: { id: number; command: Command }) => {
  void run(command).then((answer) => process.send?.({ id, answer }));
});
process.on('disconnect', () => process.exit(0));
