/** Where the API is and with which certificate: from the plugin's config, or from a kubeconfig. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';

export interface Endpoint {
  /** For messages and Host headers: "https://127.0.0.1:6443" or "unix:/path". */
  readonly url: string;
  readonly socketPath: string | undefined;
  readonly host: string;
  readonly port: number;
  /** Prefix of every path, without a slash at its end: servers behind a gateway have one. */
  readonly basePath: string;
  /** Undefined over a unix socket and plain HTTP. */
  readonly tls: TlsMaterial | undefined;
  readonly bearerToken: string | undefined;
}

export interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string | undefined;
  readonly skipVerification: boolean;
}

export interface EndpointConfig {
  readonly server?: string | undefined;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly certificateAuthority?: string | undefined;
  readonly clientCertificate?: string | undefined;
  readonly clientKey?: string | undefined;
}

/** Reads the files each time it is called: certificates are renewed. */
export async function readEndpoint(config: EndpointConfig): Promise<Endpoint> {
  if (config.server !== undefined)
    return endpointOf(config.server, {
      ca: await fileText(config.certificateAuthority),
      cert: await fileText(config.clientCertificate),
      key: await fileText(config.clientKey),
      serverName: undefined,
      skipVerification: false,
    });
  if (config.kubeconfig !== undefined) return endpointOfKubeconfig(config.kubeconfig, config.context);
  throw wrong(
    'cluster remote has no server: set `server` ("https://HOST:PORT" or "unix:/PATH") or `kubeconfig` (a path) in its config',
  );
}

export function endpointOf(server: string, tls: TlsMaterial, bearerToken?: string): Endpoint {
  if (server.startsWith('unix:')) {
    const socketPath = server.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (!socketPath.startsWith('/'))
      throw wrong(`cluster remote: "${server}" is no server: expected unix: and an absolute path`);
    return { url: server, socketPath, host: 'localhost', port: 0, basePath: '', tls: undefined, bearerToken };
  }
  let url: URL;
  try {
    url = new URL(server);
  } catch {
    throw wrong(`cluster remote: "${server}" is no server: expected "https://HOST:PORT" or "unix:/PATH"`);
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw wrong(`cluster remote: "${server}" is no server: expected https: or unix:`);
  const isTls = url.protocol === 'https:';
  return {
    url: server,
    socketPath: undefined,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
    basePath: url.pathname.replace(/\/+$/, ''),
    tls: isTls ? tls : undefined,
    bearerToken,
  };
}

type Named = readonly Readonly<Record<string, unknown>>[] | undefined;

async function endpointOfKubeconfig(path: string, contextName: string | undefined): Promise<Endpoint> {
  const { parse } = await import('yaml');
  let document: Record<string, unknown>;
  try {
    document = parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw wrong(`the kubeconfig ${path} cannot be read: ${String((cause as Error).message)}`, cause);
  }
  const named = (list: string, inner: string, name: unknown): Readonly<Record<string, unknown>> => {
    const entry = (document?.[list] as Named)?.find((one) => one['name'] === name)?.[inner];
    if (typeof entry !== 'object' || entry === null)
      throw wrong(`the kubeconfig ${path} has no ${inner} named ${JSON.stringify(name)}`);
    return entry as Readonly<Record<string, unknown>>;
  };
  const context = named('contexts', 'context', contextName ?? document?.['current-context']);
  const cluster = named('clusters', 'cluster', context['cluster']);
  const user = context['user'] === undefined ? {} : named('users', 'user', context['user']);
  const server = cluster['server'];
  if (typeof server !== 'string') throw wrong(`the kubeconfig ${path} names no server`);
  // Paths in a kubeconfig are relative to it.
  const material = async (holder: Readonly<Record<string, unknown>>, key: string): Promise<string | undefined> => {
    const data = holder[`${key}-data`];
    if (typeof data === 'string') return Buffer.from(data, 'base64').toString();
    const file = holder[key];
    return typeof file === 'string' ? fileText(resolve(dirname(path), file)) : undefined;
  };
  const tokenFile = user['tokenFile'];
  const token =
    typeof user['token'] === 'string'
      ? user['token']
      : typeof tokenFile === 'string'
        ? (await fileText(tokenFile))?.trim()
        : undefined;
  return endpointOf(
    server,
    {
      ca: await material(cluster, 'certificate-authority'),
      cert: await material(user, 'client-certificate'),
      key: await material(user, 'client-key'),
      serverName: typeof cluster['tls-server-name'] === 'string' ? cluster['tls-server-name'] : undefined,
      skipVerification: cluster['insecure-skip-tls-verify'] === true,
    },
    token,
  );
}

async function fileText(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw wrong(`cluster remote cannot read ${path}: ${String((cause as Error).message)}`, cause);
  }
}

function wrong(message: string, cause?: unknown): PintleError {
  return new PintleError('CONFIG_INVALID', message, { cause });
}
