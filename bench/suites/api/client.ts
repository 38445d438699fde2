/** Clients of an API server on its unix socket: JSON over connections that stay. */
import { Agent, request, type IncomingMessage } from 'node:http';

export class ApiClients {
  readonly #socket: string;
  readonly #agent: Agent;

  constructor(socket: string, connections: number) {
    this.#socket = socket;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  /** Rejects unless the answer is a success. Resolves to its body. */
  async ask(method: string, path: string, body?: unknown): Promise<string> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = text === undefined ? {} : { 'content-type': 'application/json' };
      const asked = request({ socketPath: this.#socket, agent: this.#agent, method, path, headers });
      asked.once('response', resolve).once('error', reject);
      asked.end(text);
    });
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const answer = Buffer.concat(chunks).toString();
    const status = response.statusCode ?? 0;
    if (status < 300) return answer;
    throw new Error(`${method} ${path} was answered with ${status}: ${answer.slice(0, 200)}`);
  }

  /** Lines of a watch, each parsed, until `onEvent` says that it is enough. */
  watch(
    path: string,
    onEvent: (event: WatchEvent) => boolean,
  ): { readonly open: Promise<void>; readonly done: Promise<void> } {
    let opened: () => void = () => undefined;
    const open = new Promise<void>((resolve) => (opened = resolve));
    const done = new Promise<void>((resolve, reject) => {
      const asked = request({ socketPath: this.#socket, path, agent: false });
      asked.once('error', reject);
      asked.once('response', (response) => {
        opened();
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) {
            if (line === '' || !onEvent(JSON.parse(line) as WatchEvent)) continue;
            asked.destroy();
            resolve();
            return;
          }
        });
        // Also when we end it ourselves, which is after the answer.
        response.once('error', ({ message }) => reject(new Error(`the watch of ${path} was cut: ${message}`)));
        response.once('end', () => reject(new Error(`the watch of ${path} ended early`)));
      });
      asked.end();
    });
    // Its reader may be busy with other things until then.
    done.catch(() => undefined);
    return { open, done };
  }

  close(): void {
    this.#agent.destroy();
  }
}

export interface WatchEvent {
  readonly type: string;
  readonly object: {
    readonly metadata: { readonly name?: string; readonly annotations?: Readonly<Record<string, string>> };
  };
}
