/** Plugin runtime/docker: containers of a Docker engine, in the pod network of Pintle. See README.md. */
import { request } from 'node:http';
import { z } from 'zod';
import { definePlugin, type Preflight } from '../../../kernel/contract/index.ts';
import { DockerRuntime } from './docker-runtime.ts';

const config = z.strictObject({
  engine: z
    .string()
    .regex(/^(unix:\/\/\/.+|tcp:\/\/[^/]+:\d+)$/, 'expected unix:///PATH or tcp://HOST:PORT')
    .default('unix:///var/run/docker.sock')
    .describe('Where the engine listens'),
  tls: z
    .strictObject({ ca: z.string(), cert: z.string(), key: z.string() })
    .optional()
    .describe('Files in PEM form; with them, tcp is TLS'),
  sandboxImage: z
    .string()
    .optional()
    .describe('An image in the engine whose command waits for ever; default: one made on the spot'),
  engineLogBytes: z
    .int()
    .min(1_000_000)
    .default(64_000_000)
    .describe("How much of a container's output the engine keeps for an agent that is away"),
});

const engineLogFiles = 4;
const pingTimeoutMs = 2_000;

/** Whether an engine answers; of a socket only, so that no network is waited for. */
function ping(socketPath: string): Promise<Preflight> {
  const fix = 'start the Docker engine (apt-get install docker.io), or name its socket as engine';
  return new Promise((resolve) => {
    const call = request({ socketPath, path: '/_ping', timeout: pingTimeoutMs }, (answer) => {
      answer.resume();
      const isWell = answer.statusCode === 200;
      resolve(isWell ? { ok: true } : { ok: false, reason: `${socketPath} answers ${answer.statusCode}`, fix });
    });
    call.once('timeout', () => call.destroy(new Error('no answer')));
    call.once('error', ({ message }) =>
      resolve({ ok: false, reason: `no Docker engine answers at ${socketPath}: ${message}`, fix }),
    );
    call.end();
  });
}

export default definePlugin({
  kind: 'runtime',
  name: 'docker',
  api: 1,
  summary: 'Containers of a Docker engine, in the pod network of Pintle',
  config,
  capabilities: ['images', 'limits', 'pids', 'tty', 'real', 'log-bound', 'exec-end', 'shared-pid'],
  preflight: async (host, { engine }) => {
    if (!host.isPrivileged)
      return { ok: false, reason: 'connecting pods to the network needs root', fix: 'run as root' };
    return engine.startsWith('unix://') ? ping(engine.slice('unix://'.length)) : { ok: true };
  },
  start: ({ config: { engine, tls, sandboxImage, engineLogBytes }, stateDir, nodeName, log, clock }) =>
    DockerRuntime.open({
      engine: { url: engine, tls },
      stateDir,
      nodeName: nodeName ?? '',
      sandboxImage,
      engineLog: { fileBytes: Math.ceil(engineLogBytes / engineLogFiles), files: engineLogFiles },
      log,
      clock,
    }),
  offline: async ({ config: { engine, tls, sandboxImage }, stateDir }) => {
    const { offlineRuntime } = await import('./offline.ts');
    return offlineRuntime({ url: engine, tls }, stateDir, sandboxImage !== undefined);
  },
});
