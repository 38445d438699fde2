/** The files of configMap, secret, downwardAPI and projected volumes, as their sources are now. */
import type {
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  ServiceAccountTokenProjection,
  Volume,
} from '../../../kernel/contract/kubernetes.ts';
import { PintleError } from '../../../kernel/contract/index.ts';
import type { VolumeFile } from './atomic-writer.ts';
import { podField, resourceField, type SpecSources } from './container-spec.ts';

/** The volume cannot be made now; the pod waits with reason FailedMount. */
export function notMountable(volume: string, message: string): PintleError {
  return new PintleError('CONTAINER_INVALID', `MountVolume.SetUp failed for volume "${volume}" : ${message}`);
}

export type Files = Map<string, VolumeFile>;

function selectKeys(
  volume: string,
  what: string,
  data: ReadonlyMap<string, Uint8Array>,
  items: readonly KeyToPath[] | undefined,
  defaultMode: number,
  optional: boolean,
): Files {
  const files: Files = new Map();
  if (!items) for (const [key, content] of data) files.set(key, { content, mode: defaultMode });
  for (const item of items ?? []) {
    const content = data.get(item.key);
    if (content) files.set(item.path, { content, mode: item.mode ?? defaultMode });
    else if (!optional) throw notMountable(volume, `${what} references non-existent key: ${item.key}`);
  }
  return files;
}

async function configMapFiles(
  pod: Pod,
  volume: string,
  source: { name?: string; items?: KeyToPath[]; optional?: boolean },
  mode: number,
  sources: SpecSources,
): Promise<Files> {
  const object = await sources.configMap(pod.metadata.namespace, source.name ?? '');
  if (!object && !source.optional) throw notMountable(volume, `configmap "${source.name}" not found`);
  const data = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(object?.data ?? {})) data.set(key, Buffer.from(text));
  for (const [key, text] of Object.entries(object?.binaryData ?? {})) data.set(key, Buffer.from(text, 'base64'));
  return selectKeys(volume, `configmap ${source.name}`, data, source.items, mode, source.optional ?? false);
}

async function secretFiles(
  pod: Pod,
  volume: string,
  source: { name: string; items?: KeyToPath[] | undefined; optional?: boolean | undefined },
  mode: number,
  sources: SpecSources,
): Promise<Files> {
  const object = await sources.secret(pod.metadata.namespace, source.name);
  if (!object && !source.optional) throw notMountable(volume, `secret "${source.name}" not found`);
  const data = new Map(
    Object.entries(object?.data ?? {}).map(([key, text]) => [key, Buffer.from(text, 'base64')] as const),
  );
  return selectKeys(volume, `secret ${source.name}`, data, source.items, mode, source.optional ?? false);
}

function downwardFiles(
  pod: Pod,
  volume: string,
  items: readonly DownwardAPIVolumeFile[] | undefined,
  mode: number,
  sources: SpecSources,
): Files {
  const files: Files = new Map();
  for (const item of items ?? []) {
    let text: string | undefined;
    if (item.fieldRef) text = podField(pod, item.fieldRef.fieldPath, sources);
    else if (item.resourceFieldRef) {
      const { containerName, resource, divisor } = item.resourceFieldRef;
      const container = pod.spec.containers.find((each) => each.name === containerName);
      if (container) text = resourceField(container, resource, divisor, sources.nodeAllocatable);
    }
    if (text === undefined) throw notMountable(volume, `downwardAPI item ${item.path} has no value`);
    files.set(item.path, { content: Buffer.from(text), mode: item.mode ?? mode });
  }
  return files;
}

async function tokenFile(
  pod: Pod,
  volume: string,
  source: ServiceAccountTokenProjection,
  mode: number,
  sources: SpecSources,
): Promise<Files> {
  try {
    const token = await sources.serviceAccountToken(pod, source);
    return new Map([[source.path, { content: Buffer.from(token), mode }]]);
  } catch (error) {
    throw notMountable(volume, `failed to fetch token: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Undefined for a volume that is none of these. */
export async function filesOf(pod: Pod, volume: Volume, sources: SpecSources): Promise<Files | undefined> {
  if (volume.configMap) {
    return configMapFiles(pod, volume.name, volume.configMap, volume.configMap.defaultMode ?? 0o644, sources);
  }
  if (volume.secret) {
    const { secretName, ...rest } = volume.secret;
    return secretFiles(pod, volume.name, { ...rest, name: secretName ?? '' }, rest.defaultMode ?? 0o644, sources);
  }
  if (volume.downwardAPI) {
    return downwardFiles(pod, volume.name, volume.downwardAPI.items, volume.downwardAPI.defaultMode ?? 0o644, sources);
  }
  if (!volume.projected) return undefined;
  const mode = volume.projected.defaultMode ?? 0o644;
  const files: Files = new Map();
  for (const source of volume.projected.sources ?? []) {
    const part = source.configMap
      ? await configMapFiles(pod, volume.name, source.configMap, mode, sources)
      : source.secret
        ? await secretFiles(pod, volume.name, { ...source.secret, name: source.secret.name ?? '' }, mode, sources)
        : source.downwardAPI
          ? downwardFiles(pod, volume.name, source.downwardAPI.items, mode, sources)
          : source.serviceAccountToken
            ? await tokenFile(pod, volume.name, source.serviceAccountToken, mode, sources)
            : undefined;
    if (!part) throw notMountable(volume.name, `projected source ${Object.keys(source).join()} is not supported`);
    for (const [path, file] of part) files.set(path, file);
  }
  return files;
}
