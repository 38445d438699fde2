/** Reads a docker archive (`docker save`) or an OCI image layout, unpacked in a folder: which layers, which configuration. */
import { readFileSync, realpathSync } from 'node:fs';
import { arch } from 'node:os';
import { join, sep } from 'node:path';
import { z } from 'zod';
import { PintleError } from '../../../../kernel/contract/index.ts';
import { digestOf } from './digest.ts';

export interface Archive {
  readonly id: string;
  readonly names: readonly string[];
  /** Tarballs, lowest first. */
  readonly layers: readonly string[];
  readonly config: unknown;
}

const descriptor = z.object({
  mediaType: z.string().optional(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
const indexFile = z.object({ manifests: z.array(descriptor).min(1) });
const manifestFile = z.object({ config: descriptor, layers: z.array(descriptor) });
const dockerManifest = z
  .array(z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }))
  .min(1);

const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
};

export async function readArchive(folder: string): Promise<Archive> {
  const root = realpathSync(folder);
  return inFolder(root, 'manifest.json') === undefined ? readOciLayout(root) : readDockerArchive(root);
}

async function readDockerArchive(root: string): Promise<Archive> {
  const [image] = parse(dockerManifest, readFileSync(required(root, 'manifest.json'), 'utf8'), 'manifest.json');
  if (image === undefined) throw new PintleError('BAD_REQUEST', 'manifest.json of the archive names no image');
  const config = required(root, image.Config);
  return {
    id: await digestOf(config),
    names: image.RepoTags ?? [],
    layers: image.Layers.map((layer) => required(root, layer)),
    config: parseJson(readFileSync(config, 'utf8'), 'the configuration'),
  };
}

async function readOciLayout(root: string): Promise<Archive> {
  const names: string[] = [];
  let text = readFileSync(required(root, 'index.json'), 'utf8');
  for (let depth = 0; depth < 4; depth++) {
    const json = parseJson(text, 'index.json');
    if (typeof json !== 'object' || json === null || !('manifests' in json)) break;
    const { manifests } = parse(indexFile, text, 'index.json');
    const wanted = architectures[arch()] ?? arch();
    const chosen =
      manifests.find(({ platform }) => platform?.architecture === wanted && platform.os === 'linux') ??
      manifests.find(({ platform }) => platform === undefined);
    if (chosen === undefined) throw new PintleError('IMAGE_NOT_FOUND', `the archive has no image for linux/${wanted}`);
    const name =
      chosen.annotations?.['io.containerd.image.name'] ?? chosen.annotations?.['org.opencontainers.image.ref.name'];
    if (name !== undefined) names.push(name);
    text = readFileSync(await blob(root, chosen.digest), 'utf8');
  }
  const manifest = parse(manifestFile, text, 'image manifest');
  const layers: string[] = [];
  for (const { digest } of manifest.layers) layers.push(await blob(root, digest));
  const config = parseJson(readFileSync(await blob(root, manifest.config.digest), 'utf8'), 'the configuration');
  return { id: manifest.config.digest, names, layers, config };
}

/** A blob whose content is what its name says. */
async function blob(root: string, digest: string): Promise<string> {
  const path = required(root, join('blobs', ...digest.split(':')));
  if ((await digestOf(path)) === digest) return path;
  throw new PintleError(
    'BAD_REQUEST',
    `blob ${digest} of the archive has other content than its name says: it is damaged`,
  );
}

function required(root: string, path: string): string {
  const found = inFolder(root, path);
  if (found === undefined) throw new PintleError('BAD_REQUEST', `the archive names ${path}, which it does not hold`);
  return found;
}

/** Old archives link equal layers to each other; no link may lead out. */
function inFolder(root: string, path: string): string | undefined {
  try {
    const found = realpathSync(join(root, path));
    return found.startsWith(root + sep) ? found : undefined;
  } catch {
    return undefined;
  }
}

function parse<T>(schema: z.ZodType<T>, text: string, what: string): T {
  const result = schema.safeParse(parseJson(text, what));
  if (result.success) return result.data;
  throw new PintleError(
    'BAD_REQUEST',
    `${what} of the archive is not as docker or OCI specify it: ${z.prettifyError(result.error)}`,
  );
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PintleError('BAD_REQUEST', `${what} of the archive is no JSON`, { cause });
  }
}
