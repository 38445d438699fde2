/**
 * Volumes of claims, through the drivers of kind `volume`. What is published for a pod is on record in
 * <pod folder>/published/<volume>.json before it is published, so that a later agent unpublishes it, whatever the API says
 * of claim and volume by then. A volume that is published is not asked about again: a pod goes on while the API is away.
 */
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  isPintleError,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type ObjectKey,
  type ResourceType,
  type VolumeDriver,
} from '../../../kernel/contract/index.ts';
import type { Node, PersistentVolume, Pod } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { claimsOfPod, isBound, isClaimOfPod, type PodClaim } from '../../../kernel/machinery/volumes/claims.ts';
import { isUsableOn } from '../../../kernel/machinery/volumes/matching.ts';
import { notMountable } from './volume-files.ts';

interface Published {
  readonly driver: string;
  readonly volume: PersistentVolume;
  readonly target: string;
}

export interface ClaimVolumesOptions {
  readonly cluster: Cluster;
  /** In the order in which they are asked. */
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly log: Logger;
  /** This node, when it is known. */
  node(): Node | undefined;
  /** Folder of a pod. */
  folder(podUid: string): string;
  /** Uids of pods with a folder. */
  list(): Promise<readonly string[]>;
}

export class ClaimVolumes {
  readonly #options: ClaimVolumesOptions;
  /** "uid/volume" → path, for what this agent itself has published. */
  readonly #paths = new Map<string, string>();
  /** Calls for one volume come one after the other. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: ClaimVolumesOptions) {
    this.#options = options;
  }

  async prepare(pod: Pod, volumeName: string): Promise<{ readonly path: string; readonly isReadOnly: boolean }> {
    const use = claimsOfPod(pod).find(({ volume }) => volume === volumeName)!;
    const { uid } = pod.metadata;
    const done = this.#paths.get(`${uid}/${volumeName}`);
    if (done !== undefined) return { path: done, isReadOnly: use.readOnly };
    const record = (await this.#read(uid, volumeName)) ?? (await this.#admit(pod, use));
    const path = await this.#publish(pod, use, record);
    this.#paths.set(`${uid}/${volumeName}`, path);
    return { path, isReadOnly: use.readOnly };
  }

  /** Unpublishes all that was published for a pod. */
  async release(podUid: string): Promise<void> {
    for (const name of await this.#published(podUid)) {
      const record = await this.#read(podUid, name);
      if (record !== undefined) await this.#unpublish(podUid, record);
      await rm(this.#recordFile(podUid, name), { force: true });
      this.#paths.delete(`${podUid}/${name}`);
      if (record !== undefined) await this.#unstage(record);
    }
  }

  #recordFile(podUid: string, volume: string): string {
    return join(this.#options.folder(podUid), 'published', `${volume}.json`);
  }

  async #published(podUid: string): Promise<readonly string[]> {
    const folder = join(this.#options.folder(podUid), 'published');
    const names = await readdir(folder).catch(() => []);
    return names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5));
  }

  async #read(podUid: string, volume: string): Promise<Published | undefined> {
    try {
      return JSON.parse(await readFile(this.#recordFile(podUid, volume), 'utf8')) as Published;
    } catch (error) {
      // An agent that was killed while it wrote had not published yet.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async #find<T extends KubernetesObject>(type: ResourceType<T>, key: ObjectKey): Promise<T | undefined> {
    try {
      return await this.#options.cluster.get(type, key);
    } catch (error) {
      if (isPintleError(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /** The claim's volume, when the pod may have it on this node. */
  async #admit(pod: Pod, use: PodClaim): Promise<Published> {
    const { namespace, uid } = pod.metadata;
    const name = `${namespace}/${use.claim}`;
    const refuse = (why: string) => notMountable(use.volume, `error processing PVC ${name}: ${why}`);
    const claim = await this.#find(resources.persistentVolumeClaims, { namespace, name: use.claim });
    if (claim === undefined) throw refuse(`persistentvolumeclaims "${use.claim}" not found`);
    if (use.isEphemeral && !isClaimOfPod(pod, claim))
      throw refuse(`PVC was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`);
    if (claim.metadata.deletionTimestamp !== undefined) throw refuse('PVC is being deleted');
    if (!isBound(claim)) throw refuse('PVC is not bound');
    const volume = await this.#find(resources.persistentVolumes, { name: claim.spec.volumeName! });
    if (volume === undefined || volume.spec.claimRef?.uid !== claim.metadata.uid)
      throw refuse(`PV "${claim.spec.volumeName}" is not there, or not bound to it`);
    const node = this.#options.node();
    if (node !== undefined && !isUsableOn(volume, node))
      throw notMountable(volume.metadata.name, 'volume node affinity check failed: no matching NodeSelectorTerms');
    if (volume.spec.volumeMode === 'Block')
      throw notMountable(volume.metadata.name, 'block volumes are not supported on this node');
    const [driver] = [...this.#options.drivers].find(([, each]) => each.serves(volume.spec)) ?? [];
    if (driver !== undefined) return { driver, volume, target: join(this.#options.folder(uid), 'volumes', use.volume) };
    throw notMountable(volume.metadata.name, 'no volume driver of this node serves it');
  }

  async #publish(pod: Pod, use: PodClaim, record: Published): Promise<string> {
    const { uid, namespace, name } = pod.metadata;
    const { fsGroup, fsGroupChangePolicy } = pod.spec.securityContext ?? {};
    const driver = this.#options.drivers.get(record.driver);
    const volumeName = record.volume.metadata.name;
    if (driver === undefined) throw notMountable(volumeName, `the volume driver ${record.driver} is not configured`);
    const file = this.#recordFile(uid, use.volume);
    await mkdir(join(file, '..'), { recursive: true });
    await mkdir(join(record.target, '..'), { recursive: true });
    return this.#inTurn(volumeName, async () => {
      await writeFile(file, JSON.stringify(record));
      try {
        await driver.stage?.(record.volume);
        const { path } = await driver.publish({
          ...{ volume: record.volume, target: record.target, readOnly: use.readOnly, fsGroup },
          ...{ podNamespace: namespace, podName: name, podUid: uid },
          fsGroupChangePolicy: fsGroupChangePolicy === 'OnRootMismatch' ? 'OnRootMismatch' : 'Always',
        });
        return path;
      } catch (error) {
        throw notMountable(volumeName, error instanceof Error ? error.message : String(error));
      }
    });
  }

  async #unpublish(podUid: string, record: Published): Promise<void> {
    const driver = this.#options.drivers.get(record.driver);
    if (driver === undefined) {
      this.#options.log.warn('the driver of a volume is not configured any more: it is not unpublished', {
        ...{ driver: record.driver, volume: record.volume.metadata.name, pod: podUid },
      });
      return;
    }
    await this.#inTurn(record.volume.metadata.name, () =>
      driver.unpublish({ volume: record.volume, podUid, target: record.target }),
    );
  }

  async #unstage(record: Published): Promise<void> {
    const driver = this.#options.drivers.get(record.driver);
    if (driver?.unstage === undefined) return;
    await this.#inTurn(record.volume.metadata.name, async () => {
      for (const uid of await this.#options.list())
        for (const name of await this.#published(uid))
          if ((await this.#read(uid, name))?.volume.metadata.name === record.volume.metadata.name) return;
      await driver.unstage!(record.volume);
    });
  }

  #inTurn<T>(volume: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(volume) ?? Promise.resolve();
    const next = before.then(work, work);
    const settled = next.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(volume, settled);
    void settled.then(() => {
      if (this.#turns.get(volume) === settled) this.#turns.delete(volume);
    });
    return next;
  }
}
