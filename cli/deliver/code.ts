/**
 * A folder of code as ConfigMaps: pods get it read-only at /code with any image, and a roll-back finds the former code,
 * because what a name holds never changes: the name is made of the content.
 */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { ConfigMap, VolumeProjection } from '../../kernel/contract/kubernetes.ts';
import type { NewObject } from '../../kernel/contract/index.ts';
import { PintleError } from '../../kernel/contract/errors.ts';

/** What one ConfigMap may hold is 1 MiB of data in all; keys and the rest of the object count too. */
const mapBytes = 1000 * 1024;
const codeBytes = 16 * 1024 * 1024;
const leftOut = new Set(['.git']);

interface CodeFile {
  /** Below the folder, with slashes. */
  readonly path: string;
  readonly content: Buffer;
  /** 0o755 for programs, else 0o644. */
  readonly mode: number;
}

export interface Code {
  /** Twelve hexadecimal digits of the content's SHA-256: paths, modes, bytes. */
  readonly id: string;
  readonly files: number;
  readonly bytes: number;
  readonly maps: readonly NewObject<ConfigMap>[];
  readonly sources: readonly VolumeProjection[];
}

export function readCode(folder: string, job: { readonly namespace: string; readonly name: string }): Code {
  const files = filesOf(folder);
  if (files.length === 0) throw refused(folder, 'has no file', 'name the folder that holds the code');
  const hash = createHash('sha256');
  for (const { path, content, mode } of files) {
    hash.update(`${path}\0${mode}\0${content.length}\0`);
    hash.update(content);
  }
  const id = hash.digest('hex').slice(0, 12);
  const groups = grouped(files);
  const maps = groups.map((group, index): NewObject<ConfigMap> => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace: job.namespace, name: mapName(job.name, id, index) },
    immutable: true,
    binaryData: Object.fromEntries(group.map(({ content }, file) => [`f${file}`, content.toString('base64')])),
  }));
  const sources = groups.map((group, index): VolumeProjection => ({
    configMap: {
      name: mapName(job.name, id, index),
      items: group.map(({ path, mode }, file) => ({ key: `f${file}`, path, mode })),
    },
  }));
  return { id, files: files.length, bytes: files.reduce((sum, file) => sum + file.content.length, 0), maps, sources };
}

const mapName = (job: string, id: string, index: number) => `${job}-code-${id}-${index}`;

function filesOf(folder: string): readonly CodeFile[] {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw refused(folder, 'is no folder', 'name the folder that holds the code');
  const found: CodeFile[] = [];
  let bytes = 0;
  const walk = (directory: string): void => {
    for (const name of readdirSync(directory).sort()) {
      const path = join(directory, name);
      if (leftOut.has(name)) continue;
      const facts = lstatSync(path);
      if (facts.isDirectory()) walk(path);
      else if (!facts.isFile())
        throw refused(path, 'is neither a file nor a folder', 'replace it by what it stands for, or deliver an image');
      else {
        bytes += facts.size;
        if (facts.size > mapBytes || bytes > codeBytes)
          throw refused(
            facts.size > mapBytes ? path : folder,
            facts.size > mapBytes ? `has ${facts.size} bytes` : `holds more than ${codeBytes >> 20} MiB`,
            `code travels as ConfigMaps: at most ${mapBytes >> 10} KiB a file and ${codeBytes >> 20} MiB in all; deliver an image instead`,
          );
        const content = readFileSync(path);
        found.push({ path: relative(folder, path), content, mode: facts.mode & 0o111 ? 0o755 : 0o644 });
      }
    }
  };
  walk(folder);
  return found;
}

/** First fit in order of path: the same folder makes the same maps. */
function grouped(files: readonly CodeFile[]): readonly (readonly CodeFile[])[] {
  const groups: CodeFile[][] = [];
  let room = 0;
  for (const file of files) {
    const size = file.content.length + 64;
    if (size > room) {
      groups.push([]);
      room = mapBytes;
    }
    groups.at(-1)!.push(file);
    room -= size;
  }
  return groups;
}

const refused = (path: string, what: string, todo: string) =>
  new PintleError('CONFIG_INVALID', `${path} ${what}: ${todo}`);
