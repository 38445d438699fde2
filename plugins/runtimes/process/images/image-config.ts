/** What an image says about running it: the part of an OCI image configuration that the runtime uses. */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** NAME=value. */
  readonly environment: readonly string[];
  readonly workingDir: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** Name or number: "SIGQUIT", "3". */
  readonly stopSignal: string | undefined;
}

/** Image `host`: the node's own file system has no opinion, except that its user is root. */
export const hostImageConfig: ImageConfig = {
  entrypoint: [],
  command: [],
  environment: [],
  workingDir: '/',
  uid: 0,
  gid: 0,
  home: '/root',
  stopSignal: undefined,
};
