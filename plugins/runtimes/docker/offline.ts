/** What is done to the engine from beside a node's agent: images, and the removal of the node's containers. */
import { execFile, spawn } from 'node:child_process';
import { createReadStream, existsSync, realpathSync, statSync } from 'node:fs';
import { promisify } from 'node:util';
import { PintleError, type Image, type RuntimeOffline } from '../../../kernel/contract/index.ts';
import { labelKeys, ownerOf } from '../../../kernel/machinery/engine/engine-labels.ts';
import { pullQuery } from './container-config.ts';
import { connectEngine, type Engine, type EngineAddress } from './engine.ts';
import { describeImage, dropSandboxImage, findImage, listImages, progressLines, removeImage } from './images.ts';

const execute = promisify(execFile);
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export async function offlineRuntime(
  address: EngineAddress,
  stateDir: string,
  hasOwnSandboxImage: boolean,
): Promise<RuntimeOffline & AsyncDisposable> {
  const engine = await connectEngine(address, silent);
  return {
    importImage: (source, names) => importImage(engine, source, names),
    listImages: () => listImages(engine),
    removeImage: (name) => removeImage(engine, name),
    purge: async () => {
      const owner = ownerOf(existsSync(stateDir) ? realpathSync(stateDir) : stateDir);
      const filters = JSON.stringify({ label: [`${labelKeys.owner}=${owner}`] });
      const all = await engine.call((docker) => docker.listContainers({ all: true, filters }));
      for (const { Id } of all) await engine.find((docker) => docker.getContainer(Id).remove({ force: true, v: true }));
      if (!hasOwnSandboxImage) await dropSandboxImage(engine);
    },
    [Symbol.asyncDispose]: async () => engine.stop(),
  };
}

async function importImage(engine: Engine, source: string, names: readonly string[]): Promise<Image> {
  const stats = statSync(source, { throwIfNoEntry: false });
  if (stats === undefined) throw new PintleError('IMAGE_NOT_FOUND', `image source ${source} does not exist`);
  const isArchive = !stats.isDirectory() && (await holdsImages(source));
  const [first, ...rest] = isArchive ? [await load(engine, source), ...names] : names;
  if (first === undefined)
    throw new PintleError('BAD_REQUEST', `image source ${source} holds no name: expected one to be given`);
  if (!isArchive) await importRoot(engine, source, stats.isDirectory(), first);
  for (const name of rest) {
    const { fromImage, tag } = named(name);
    await engine.call((docker) => docker.getImage(first).tag({ repo: fromImage, tag }));
  }
  const info = await findImage(engine, first);
  if (info === undefined) throw new PintleError('IMAGE_NOT_FOUND', `image ${first} was imported and is not there`);
  return describeImage(info);
}

async function holdsImages(file: string): Promise<boolean> {
  const { stdout } = await execute('tar', ['--list', '--file', file], { maxBuffer: 256 * 1024 * 1024 });
  return /^(\.\/)?manifest\.json$/m.test(stdout);
}

/** Resolves to a name of what was loaded. */
async function load(engine: Engine, file: string): Promise<string> {
  const stream = await engine.call((docker) => docker.loadImage(createReadStream(file)));
  let name: string | undefined;
  for await (const { error, stream: text } of progressLines(stream)) {
    if (error !== undefined) throw new PintleError('BAD_REQUEST', `image source ${file}: ${error}`);
    name ??= /^Loaded image(?: ID)?: (\S+)/m.exec(text ?? '')?.[1];
  }
  if (name === undefined) throw new PintleError('BAD_REQUEST', `image source ${file} holds no image`);
  return name;
}

async function importRoot(engine: Engine, source: string, isFolder: boolean, name: string): Promise<void> {
  const { fromImage, tag } = named(name);
  const argv = ['--create', '--file', '-', '--directory', source, '.'];
  const input = isFolder
    ? spawn('tar', argv, { stdio: ['ignore', 'pipe', 'ignore'] }).stdout
    : createReadStream(source);
  const stream = await engine.call((docker) => docker.importImage(input, { repo: fromImage, tag }));
  for await (const { error } of progressLines(stream))
    if (error !== undefined) throw new PintleError('BAD_REQUEST', `image source ${source}: ${error}`);
}

function named(name: string): { readonly fromImage: string; readonly tag: string } {
  const query = pullQuery(name);
  if (query === undefined) throw new PintleError('BAD_REQUEST', `${name} is no name of an image`);
  return query;
}
