/** The engine's images: pulled with a user's credentials and told progress, listed, removed; and the sandbox image. */
import { Readable } from 'node:stream';
import type { AuthConfig, ImageInspectInfo } from 'dockerode';
import { PintleError, type Image, type PullOptions, type RegistryCredentials } from '../../../kernel/contract/index.ts';
import { pullQuery } from './container-config.ts';
import { statusOf, textOf, type Engine } from './engine.ts';
import { sandboxArchive, sandboxProgram, sandboxRepository, sandboxTag } from './sandbox-image.ts';

/** A line of what the engine tells while it pulls or loads. */
interface ProgressLine {
  readonly id?: string;
  readonly stream?: string;
  readonly error?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
}

export async function findImage(engine: Engine, name: string): Promise<ImageInspectInfo | undefined> {
  try {
    return await engine.find((docker) => docker.getImage(name).inspect());
  } catch (error) {
    // A name that no image can have.
    if (statusOf(error) === 400 || (statusOf(error) === 500 && /invalid reference/.test(textOf(error))))
      return undefined;
    throw error;
  }
}

export function describeImage(info: ImageInspectInfo): Image {
  const names = [...(info.RepoTags ?? []), ...(info.RepoDigests ?? [])].filter((name) => !name.startsWith('<none>'));
  // A name would have to be looked up in the image.
  const user = /^(\d+)(?::|$)/.exec(info.Config.User)?.[1] ?? (info.Config.User === '' ? '0' : undefined);
  return { id: info.Id, names, sizeBytes: info.Size, ...(user === undefined ? {} : { user: Number(user) }) };
}

export async function pullImage(engine: Engine, name: string, options: PullOptions): Promise<Image> {
  const query = pullQuery(name);
  const missing = (why: string, cause?: unknown): PintleError =>
    new PintleError('IMAGE_NOT_FOUND', `image ${name} cannot be pulled: ${why}`, { cause });
  if (query === undefined) throw missing('this is no name of an image');
  const layers = new Map<string, { readonly bytes: number; readonly totalBytes: number }>();
  try {
    const stream = await engine.call((docker) =>
      docker.createImage(authOf(options.credentials), { fromImage: query.fromImage, tag: query.tag }),
    );
    for await (const line of progressLines(stream)) {
      if (line.error !== undefined) throw missing(line.error);
      const { current = 0, total = 0 } = line.progressDetail ?? {};
      if (line.id === undefined || total === 0) continue;
      // A layer is downloaded, then extracted; both count to its size.
      const known = layers.get(line.id)?.bytes ?? 0;
      layers.set(line.id, { bytes: Math.max(known, Math.min(current, total)), totalBytes: total });
      const all = [...layers.values()];
      options.onProgress?.({
        bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
        totalBytes: all.reduce((sum, { totalBytes }) => sum + totalBytes, 0),
      });
    }
  } catch (error) {
    if (error instanceof PintleError) throw error;
    throw missing(textOf(error), error);
  }
  const info = await findImage(engine, name);
  if (info === undefined) throw missing('the engine has pulled it and does not know it');
  return describeImage(info);
}

export async function listImages(engine: Engine): Promise<readonly Image[]> {
  const all = await engine.call((docker) => docker.listImages());
  return all
    .filter(({ RepoTags }) => RepoTags?.includes(`${sandboxRepository}:${sandboxTag}`) !== true)
    .map(({ Id, RepoTags, RepoDigests, Size }) => ({
      id: Id,
      names: [...(RepoTags ?? []), ...(RepoDigests ?? [])].filter((name) => !name.startsWith('<none>')),
      sizeBytes: Size,
    }));
}

/** False when there is none of this name. */
export async function removeImage(engine: Engine, name: string): Promise<boolean> {
  try {
    return (await engine.find((docker) => docker.getImage(name).remove())) !== undefined;
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
    throw new PintleError('CONFLICT', `image ${name} cannot be removed: ${textOf(error)}`, { cause: error });
  }
}

/** Makes the sandbox image when it is not there; resolves to its id, which cannot be moved to another image meanwhile. */
export async function ensureSandboxImage(engine: Engine): Promise<string> {
  const name = `${sandboxRepository}:${sandboxTag}`;
  const found = await findImage(engine, name);
  if (found !== undefined) return found.Id;
  const stream = await engine.call((docker) =>
    docker.importImage(Readable.from([sandboxArchive()]) as unknown as NodeJS.ReadableStream, {
      repo: sandboxRepository,
      tag: sandboxTag,
      changes: [`ENTRYPOINT ["${sandboxProgram}"]`],
    }),
  );
  for await (const line of progressLines(stream))
    if (line.error !== undefined)
      throw new PintleError('CONTAINER_START_FAILED', `the sandbox image could not be made: ${line.error}`);
  return (await findImage(engine, name))?.Id ?? name;
}

/** Gone with its last container; others may use it. */
export async function dropSandboxImage(engine: Engine): Promise<void> {
  try {
    await engine.find((docker) => docker.getImage(`${sandboxRepository}:${sandboxTag}`).remove());
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
  }
}

function authOf(credentials: RegistryCredentials | undefined): AuthConfig | object {
  if (credentials === undefined) return {};
  const { server, username, password, identityToken, registryToken } = credentials;
  const names = {
    serveraddress: server,
    username,
    password,
    identitytoken: identityToken,
    registrytoken: registryToken,
  };
  return Object.fromEntries(Object.entries(names).filter(([, value]) => value !== undefined));
}

/** One JSON value a line. */
export async function* progressLines(stream: NodeJS.ReadableStream): AsyncGenerator<ProgressLine> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as ProgressLine;
  }
  if (rest.trim() !== '') yield JSON.parse(rest) as ProgressLine;
}
