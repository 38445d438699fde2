/**
 * Sees to it that a container's image is on the node: by its pull policy, with the pod's pull secrets, with back-off. A pull
 * that takes its time goes on beside the pod's work; how far it is becomes events.
 */
import type { Container as ContainerDefinition, Pod, Secret } from '../../../kernel/contract/kubernetes.ts';
import {
  isPintleError,
  type Image,
  type PullOptions,
  type RegistryCredentials,
} from '../../../kernel/contract/index.ts';
import { parseImageName } from '../../../kernel/machinery/image-name.ts';
import { retryDelay, type PodMemory, type PodWorkerServices } from './pod-memory.ts';
import { credentialsFor } from './pull-credentials.ts';

/** A pull that ends within this time is waited for. */
const shortPullMs = 250;
const progressEveryMs = 5_000;
const mebibyte = 2 ** 20;
/** One for all: an error with a stack for each pod would cost more than what it says. */
const isPulled = new DOMException('the pull is over', 'AbortError');

export class ImagePulls {
  readonly #services: PodWorkerServices;

  constructor(services: PodWorkerServices) {
    this.#services = services;
  }

  /** True when the container may be made of the image that is on the node now. */
  async ensure(pod: Pod, memory: PodMemory, definition: ContainerDefinition): Promise<boolean> {
    const { runtime, clock, again, record } = this.#services;
    const { uid } = pod.metadata;
    const { name, image = '' } = definition;
    const present = await runtime.imageStatus(image);
    const policy = definition.imagePullPolicy ?? 'IfNotPresent';
    const isPulled = memory.pulls.get(name) === 'pulled';
    if (present && (policy !== 'Always' || isPulled)) {
      if (!isPulled) this.#tellPresent(pod, image);
      memory.pulls.delete(name);
      return true;
    }
    if (memory.pulls.get(name) === 'pulling') return false;
    if (!present && parseImageName(image) === undefined) {
      const message = `Failed to apply default image tag "${image}": couldn't parse image name "${image}": invalid reference format`;
      record(pod, 'Warning', 'InspectFailed', message);
      record(pod, 'Warning', 'Failed', 'Error: InvalidImageName');
      memory.problems.set(name, { reason: 'InvalidImageName', message });
      again(uid, retryDelay(memory, `image/${name}`, clock.now()));
      return false;
    }
    if (!present && policy === 'Never') {
      const message = `Container image "${image}" is not present with pull policy of Never`;
      record(pod, 'Warning', 'ErrImageNeverPull', message);
      record(pod, 'Warning', 'Failed', 'Error: ErrImageNeverPull');
      memory.problems.set(name, { reason: 'ErrImageNeverPull', message });
      again(uid, retryDelay(memory, `image/${name}`, clock.now()));
      return false;
    }
    const waiting = memory.backoff.get(`image/${name}`);
    if (waiting && waiting.untilMs > clock.now()) {
      const message = `Back-off pulling image "${image}"`;
      if (memory.problems.get(name)?.reason !== 'ImagePullBackOff') {
        record(pod, 'Normal', 'BackOff', message);
        record(pod, 'Warning', 'Failed', 'Error: ImagePullBackOff');
      }
      memory.problems.set(name, { reason: 'ImagePullBackOff', message });
      again(uid, waiting.untilMs - clock.now());
      return false;
    }
    const pull = this.#pull(pod, memory, definition, present === undefined);
    const isOver = await this.#within(shortPullMs, pull);
    if (isOver === true) memory.pulls.delete(name);
    if (isOver === undefined) void pull.then((isDone) => isDone && again(uid));
    return isOver ?? false;
  }

  #tellPresent(pod: Pod, image: string): void {
    this.#services.record(pod, 'Normal', 'Pulled', `Container image "${image}" already present on machine`);
  }

  /** Undefined when it takes longer. */
  async #within(ms: number, pull: Promise<boolean>): Promise<boolean | undefined> {
    const over = new AbortController();
    const late = this.#services.clock.sleep(ms, over.signal).then(
      () => undefined,
      () => undefined,
    );
    const first = await Promise.race([pull, late]);
    over.abort(isPulled);
    return first;
  }

  /** Never rejects; false when it failed, which is in the pod's memory then. */
  async #pull(pod: Pod, memory: PodMemory, definition: ContainerDefinition, isNew: boolean): Promise<boolean> {
    const { clock, again, record, log } = this.#services;
    const { name, image = '' } = definition;
    memory.pulls.set(name, 'pulling');
    const began = clock.now();
    try {
      if (isNew) record(pod, 'Normal', 'Pulling', `Pulling image "${image}"`);
      const { sizeBytes } = await this.#pullWithAny(image, await this.#credentials(pod, image), (bytes, totalBytes) => {
        const size = `${(bytes / mebibyte).toFixed(1)} of ${(totalBytes / mebibyte).toFixed(1)} MiB`;
        record(pod, 'Normal', 'Pulling', `Pulling image "${image}": ${size}`);
      });
      const took = `${((clock.now() - began) / 1000).toFixed(1)}s`;
      if (isNew) {
        const size = `Image size: ${sizeBytes} bytes.`;
        record(pod, 'Normal', 'Pulled', `Successfully pulled image "${image}" in ${took}. ${size}`);
      } else this.#tellPresent(pod, image);
      memory.backoff.delete(`image/${name}`);
      memory.pulls.set(name, 'pulled');
      return true;
    } catch (error) {
      if (!isPintleError(error)) log.error('pulling an image failed', { image, error: String(error) });
      const message = `Failed to pull image "${image}": ${error instanceof Error ? error.message : String(error)}`;
      record(pod, 'Warning', 'Failed', message);
      record(pod, 'Warning', 'Failed', 'Error: ErrImagePull');
      memory.problems.set(name, { reason: 'ErrImagePull', message });
      memory.pulls.delete(name);
      again(pod.metadata.uid, retryDelay(memory, `image/${name}`, clock.now()));
      return false;
    }
  }

  /** One after the other, until one is good; without any, as nobody. */
  async #pullWithAny(
    image: string,
    all: readonly RegistryCredentials[],
    tell: (bytes: number, totalBytes: number) => void,
  ): Promise<Image> {
    const { runtime, clock } = this.#services;
    let toldMs = clock.now();
    const onProgress: PullOptions['onProgress'] = ({ bytes, totalBytes }) => {
      if (clock.now() - toldMs < progressEveryMs) return;
      toldMs = clock.now();
      tell(bytes, totalBytes);
    };
    let failure: unknown;
    for (const credentials of all.length > 0 ? all : [undefined])
      try {
        return await runtime.pullImage(image, { credentials, onProgress });
      } catch (error) {
        failure = error;
      }
    throw failure;
  }

  async #credentials(pod: Pod, image: string): Promise<readonly RegistryCredentials[]> {
    const { sources, record } = this.#services;
    const secrets: Secret[] = [];
    for (const { name } of pod.spec.imagePullSecrets ?? []) {
      const secret = name === undefined ? undefined : await sources.secret(pod.metadata.namespace, name);
      if (secret !== undefined) secrets.push(secret);
      else
        record(
          pod,
          'Warning',
          'FailedToRetrieveImagePullSecret',
          `Unable to retrieve some image pull secrets (${name}); attempting to pull the image may not succeed.`,
        );
    }
    return credentialsFor(image, secrets);
  }
}
