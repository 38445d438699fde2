/**
 * The agent's side of the data path's process: starts it, finds the one that a former agent started, talks to it. Owns the
 * connection; the process is left running when that is closed.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PintleError } from '../../../kernel/contract/index.ts';
import { runInNetns } from '../../linux/namespaces.ts';
import {
  readMessages,
  socketName,
  writeMessage,
  type Answers,
  type DataPathSettings,
  type Hello,
  type Question,
} from './data-path-protocol.ts';

const program = fileURLToPath(new URL('./data-path-main.js', import.meta.url));
/** It is a process of Node.js: at a load of 25 an emulated processor took more than twenty seconds. */
const startDeadlineMs = 60_000;
const answerDeadlineMs = 10_000;
/** A process that has not answered by then is not waited for before its device is taken away. */
const hungMs = 250;

export interface NewDataPath {
  readonly folder: string;
  readonly settings: DataPathSettings;
  /** Descriptor of the TUN device, and the device's index. */
  readonly tun: number;
  readonly link: number;
  readonly netns: string | undefined;
}

/** The process as long as it lives: `ended` settles when it has gone, whatever ended it. */
export class DataPathProcess {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  readonly ended: Promise<void>;
  #next = 1;
  #isOver = false;
  #hello: Hello | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    readMessages(socket, (message) => {
      const { id, answer } = message as { id: number; answer: never };
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    this.ended = new Promise((resolve) => {
      socket.on('close', () => {
        this.#isOver = true;
        for (const { reject } of this.#waiting.values()) reject(gone('it ended before it answered'));
        this.#waiting.clear();
        resolve();
      });
    });
    // Only an agent's other work keeps it alive.
    socket.unref();
  }

  /** The process that listens in `folder`; undefined when there is none. */
  static async find(folder: string): Promise<DataPathProcess | undefined> {
    let directory: number;
    try {
      directory = openSync(folder, 'r');
    } catch {
      return undefined;
    }
    try {
      const socket = connect(join(`/proc/self/fd/${directory}`, socketName));
      const isThere = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      if (!isThere) return undefined;
      const found = new DataPathProcess(socket);
      try {
        found.#hello = await found.ask({ verb: 'hello' });
        return found;
      } catch {
        found.disconnect();
        return undefined;
      }
    } finally {
      closeSync(directory);
    }
  }

  /** Starts one, which has taken the TUN device over before this returns, and resolves when it serves. */
  static start({ folder, settings, tun, link, netns }: NewDataPath): Promise<DataPathProcess> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const logFile = join(folder, 'data-path.log');
    const log = openSync(logFile, 'w', 0o600);
    const argv = [program, JSON.stringify(settings), String(link), folder];
    const launch = () =>
      spawn(process.execPath, argv, { detached: true, stdio: ['ignore', 'pipe', log, tun], cwd: '/' });
    const child = netns === undefined ? launch() : runInNetns(netns, launch);
    closeSync(log);
    const ready = new Promise<void>((resolve, reject) => {
      const deadline = setTimeout(() => reject(gone(`it did not serve within ${startDeadlineMs} ms`)), startDeadlineMs);
      const fail = (what: string): void => {
        clearTimeout(deadline);
        reject(gone(`${what}; it said: ${lastWords(logFile)}`));
      };
      child.once('error', (error) => fail(error.message));
      child.once('exit', (code, signal) => fail(`it ended with ${code ?? signal}`));
      child.stdout?.once('data', () => {
        clearTimeout(deadline);
        child.removeAllListeners('exit');
        child.stdout?.destroy();
        child.unref();
        resolve();
      });
    });
    return ready.then(async () => {
      const found = await DataPathProcess.find(folder);
      if (found === undefined) throw gone('it does not answer on its socket');
      return found;
    });
  }

  /** Removes what a process left in `folder`. */
  static forget(folder: string): void {
    rmSync(folder, { recursive: true, force: true });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get hello(): Hello {
    if (this.#hello === undefined) throw gone('it has not said hello');
    return this.#hello;
  }

  ask<Q extends Question>(question: Q): Promise<Answers[Q['verb']]> {
    if (this.#isOver) return Promise.reject(gone('it has ended'));
    const id = this.#next;
    this.#next += 1;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.#waiting.delete(id);
        reject(gone(`it did not answer "${question.verb}" within ${answerDeadlineMs} ms`));
      }, answerDeadlineMs);
      const settle = <T>(then: (value: T) => void) => {
        return (value: T): void => {
          clearTimeout(deadline);
          then(value);
        };
      };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      writeMessage(this.#socket, { id, question });
    });
  }

  /** No packet is carried any more when this resolves, unless the process is hung. */
  async quiesce(): Promise<void> {
    const patience = new AbortController();
    const hung = delay(hungMs, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([this.ask({ verb: 'peers', peers: [] }).catch(() => undefined), hung]);
    patience.abort();
  }

  /** Ends the process, which is gone in moments: packets are not carried any more when this resolves. */
  async stop(): Promise<void> {
    await this.ask({ verb: 'stop' }).catch(() => undefined);
    // A process that does not obey is hung: what it had is in the kernel's hands, not its own.
    if (!this.#isOver && this.#hello !== undefined) kill(this.#hello.pid);
    this.#socket.destroy();
    await this.ended;
  }

  disconnect(): void {
    this.#socket.destroy();
  }
}

/** Nothing when the folder has been removed meanwhile. */
function lastWords(logFile: string): string {
  try {
    return readFileSync(logFile, 'utf8').trim().split('\n').slice(-12).join(' | ');
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it is gone already
  }
}

function gone(what: string): PintleError {
  return new PintleError(
    'HOST_COMMAND_FAILED',
    `The data path's process of overlay flannel-udp cannot be used: ${what}`,
    {
      details: { argv: [program], exitCode: -1 },
    },
  );
}
