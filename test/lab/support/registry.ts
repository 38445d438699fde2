/** Debian's docker-registry on a port of loopback, with or without a password. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../free-port.ts';

export const registryProgram = '/usr/bin/docker-registry';
export const registryUser = { username: 'kit', password: 'secret' } as const;
/** "secret" */
const htpasswd = 'kit:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n';

export class Registry {
  readonly address: string;
  readonly #child: ChildProcess;

  private constructor(address: string, child: ChildProcess) {
    this.address = address;
    this.#child = child;
  }

  static async start(folder: string, options: { readonly hasPassword: boolean }): Promise<Registry> {
    mkdirSync(folder, { recursive: true });
    const address = `127.0.0.1:${await freePort()}`;
    const passwords = join(folder, 'htpasswd');
    writeFileSync(passwords, htpasswd);
    const auth = options.hasPassword ? { auth: { htpasswd: { realm: 'kit', path: passwords } } } : {};
    const config = {
      version: 0.1,
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(folder, 'data') } },
      http: { addr: address },
      ...auth,
    };
    const file = join(folder, 'config.json');
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(config));
    const child = spawn(registryProgram, ['serve', file], { stdio: 'ignore', env: { PATH: process.env['PATH'] } });
    const registry = new Registry(address, child);
    for (;;) {
      if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
      if ((await fetch(`http://${address}/v2/`).catch(() => undefined)) !== undefined) return registry;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
