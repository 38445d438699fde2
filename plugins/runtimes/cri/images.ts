/** The images of the container runtime. It tells no progress of a pull. */
import { PintleError, type Image, type PullOptions } from '../../../kernel/contract/index.ts';
import { codeOf, grpcCodes, isNotFound, textOf, type CriClient } from './cri-client.ts';

interface CriImage {
  readonly id: string;
  readonly repo_tags: readonly string[];
  readonly repo_digests: readonly string[];
  readonly size: number;
  readonly uid: { readonly value: number } | null;
  readonly username: string;
}

/** Layers can be large and registries slow. */
const pullMs = 3_600_000;

export interface LocalImage {
  readonly image: Image;
  readonly uid: number | undefined;
  readonly hasCommand: boolean;
}

export async function findImage(client: CriClient, name: string): Promise<LocalImage | undefined> {
  try {
    const request = { image: { image: name }, verbose: true };
    const { image, info } = await client.images<{ image: CriImage | null; info: Readonly<Record<string, string>> }>(
      'ImageStatus',
      request,
    );
    if (image === null) return undefined;
    const { imageSpec } = JSON.parse(info['info'] ?? '{}') as {
      readonly imageSpec?: {
        readonly config?: { readonly Cmd?: readonly string[]; readonly Entrypoint?: readonly string[] };
      };
    };
    const words = imageSpec && [...(imageSpec.config?.Entrypoint ?? []), ...(imageSpec.config?.Cmd ?? [])];
    // One that does not say is asked by trying.
    return { image: describe(image), uid: image.uid?.value, hasCommand: words === undefined || words.length > 0 };
  } catch (error) {
    // A name that no image can have.
    if (
      isNotFound(error) ||
      codeOf(error) === grpcCodes.invalidArgument ||
      /invalid reference|parse/.test(textOf(error))
    )
      return undefined;
    throw error;
  }
}

export async function pullImage(client: CriClient, name: string, { credentials }: PullOptions): Promise<Image> {
  const auth = credentials && {
    username: credentials.username ?? '',
    password: credentials.password ?? '',
    server_address: credentials.server,
    identity_token: credentials.identityToken ?? '',
    registry_token: credentials.registryToken ?? '',
  };
  const missing = (cause: unknown, why: string): PintleError =>
    new PintleError('IMAGE_NOT_FOUND', `image ${name} cannot be pulled: ${why}`, { cause });
  try {
    await client.images('PullImage', { image: { image: name }, ...(auth === undefined ? {} : { auth }) }, pullMs);
  } catch (cause) {
    if (codeOf(cause) === undefined) throw cause;
    throw missing(cause, textOf(cause));
  }
  const found = await findImage(client, name);
  if (found === undefined) throw missing(undefined, 'the runtime has pulled it and does not know it');
  return found.image;
}

export async function listImages(client: CriClient): Promise<readonly Image[]> {
  const { images } = await client.images<{ images: CriImage[] }>('ListImages', {});
  return images.map(describe);
}

/** False when there is none of this name. */
export async function removeImage(
  client: CriClient,
  name: string,
  isUsed: (imageId: string) => Promise<boolean>,
): Promise<boolean> {
  const found = await findImage(client, name);
  if (found === undefined) return false;
  if (await isUsed(found.image.id))
    throw new PintleError('CONFLICT', `image ${name} cannot be removed: a container is made of it`);
  await client.images('RemoveImage', { image: { image: name } });
  return true;
}

function describe({ id, repo_tags, repo_digests, size, uid, username }: CriImage): Image {
  // Of an image that names its user, only the name is told.
  const user = uid?.value ?? (username === '' ? 0 : undefined);
  return { id, names: [...repo_tags, ...repo_digests], sizeBytes: size, ...(user === undefined ? {} : { user }) };
}
