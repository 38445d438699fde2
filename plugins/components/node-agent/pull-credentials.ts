/** Which of a pod's pull secrets are for an image, as Kubernetes matches them. */
import type { Secret } from '../../../kernel/contract/kubernetes.ts';
import type { RegistryCredentials } from '../../../kernel/contract/index.ts';
import { parseImageName } from '../../../kernel/machinery/image-name.ts';

interface Entry {
  readonly username?: unknown;
  readonly password?: unknown;
  /** base64 of "user:password" */
  readonly auth?: unknown;
  readonly identitytoken?: unknown;
  readonly registrytoken?: unknown;
}

/** The credentials that the secrets have for the image, the most particular first. Secrets of other types have none. */
export function credentialsFor(image: string, secrets: readonly Secret[]): readonly RegistryCredentials[] {
  const name = parseImageName(image);
  if (name === undefined) return [];
  return secrets
    .flatMap((secret) => Object.entries(entriesOf(secret)))
    .flatMap(([server, entry]) => {
      const path = matchedPath(server, name.registry, name.repository);
      return path === undefined ? [] : [{ length: path.length, credentials: toCredentials(server, entry) }];
    })
    .sort((a, b) => b.length - a.length)
    .map(({ credentials }) => credentials);
}

function entriesOf({ type, data }: Secret): Readonly<Record<string, Entry>> {
  const isNew = type === 'kubernetes.io/dockerconfigjson';
  if (!isNew && type !== 'kubernetes.io/dockercfg') return {};
  try {
    const text = Buffer.from(data?.[isNew ? '.dockerconfigjson' : '.dockercfg'] ?? '', 'base64').toString('utf8');
    const parsed = JSON.parse(text) as { readonly auths?: Readonly<Record<string, Entry>> };
    return (isNew ? parsed.auths : (parsed as Readonly<Record<string, Entry>>)) ?? {};
  } catch {
    return {};
  }
}

/** "https://index.docker.io/v1/", "registry:5000", "*.example.com/team": the path that the image is below, or undefined. */
function matchedPath(server: string, registry: string, repository: string): string | undefined {
  const [host = '', ...parts] = server.replace(/^https?:\/\//, '').split('/');
  const path = parts.join('/').replace(/\/+$/, '');
  if (registry === 'docker.io' && /^(?:index\.|registry-1\.)?docker\.io$/.test(host))
    return /^(v1|v2)?$/.test(path) || isBelow(repository, path) ? path : undefined;
  const [pattern = '', port = ''] = host.split(':');
  const [name = '', imagePort = ''] = registry.split(':');
  const labels = pattern.split('.');
  const words = name.split('.');
  const isHost =
    port === imagePort &&
    labels.length === words.length &&
    labels.every((label, at) => matches(label, words[at] ?? ''));
  return isHost && isBelow(repository, path) ? path : undefined;
}

const isBelow = (repository: string, path: string): boolean =>
  path === '' || repository === path || repository.startsWith(`${path}/`);

/** One label of a host name; "*" stands for any characters. */
function matches(pattern: string, label: string): boolean {
  const escaped = pattern.split('*').map((text) => text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`).test(label);
}

function toCredentials(server: string, entry: Entry): RegistryCredentials {
  const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
  const decoded = Buffer.from(text(entry.auth) ?? '', 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  return {
    server,
    username: text(entry.username) ?? (colon < 0 ? undefined : decoded.slice(0, colon)),
    password: text(entry.password) ?? (colon < 0 ? undefined : decoded.slice(colon + 1)),
    identityToken: text(entry.identitytoken),
    registryToken: text(entry.registrytoken),
  };
}
