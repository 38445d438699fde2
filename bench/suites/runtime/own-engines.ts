/**
 * Engines that the benchmark starts for runtimes that need one, for as long as a round takes: what a host's own engine has
 * of images and containers is nobody's to touch, and nothing is downloaded.
 */
import { join } from 'node:path';
import { Containerd, containerdProblem } from '../../bed/containerd.ts';
import { DockerEngine, dockerProblem, waitingImage, waitingProgram } from '../../bed/docker-engine.ts';
import type { Place } from '../../bed/place.ts';
import type { Program } from './pod-spec.ts';

export interface RunningEngine {
  /** What the runtime's config says of it. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly program: Program;
  stop(): Promise<void>;
}

export interface OwnEngine {
  /** Why none can be started here. */
  problem(): string | undefined;
  start(place: Place, folder: string): Promise<RunningEngine>;
}

const program: Program = { image: waitingImage, command: [waitingProgram] };

/** By the runtime's name. */
export const ownEngines: Readonly<Record<string, OwnEngine>> = {
  docker: {
    problem: dockerProblem,
    start: async (place, folder) => {
      const engine = await DockerEngine.start(place, join(folder, 'd'));
      const stop = (): Promise<void> => engine.stop();
      try {
        await engine.importImage();
        return { config: { engine: `unix://${engine.socket}` }, program, stop };
      } catch (error) {
        await stop();
        throw error;
      }
    },
  },
  cri: {
    problem: containerdProblem,
    start: async (place, folder) => {
      const engine = await Containerd.start(place, join(folder, 'c'));
      const config = { endpoint: `unix://${engine.socket}`, installCni: engine.cni };
      return { config, program, stop: () => engine.stop() };
    },
  },
};
