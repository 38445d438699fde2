/** Names of container images, in the grammar of Docker's and OCI's references: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]. */
export interface ImageName {
  /** "docker.io" when the name has none. */
  readonly registry: string;
  /** Without the registry; "library/nginx" for "nginx". */
  readonly repository: string;
  /** Undefined with a digest and no tag; else "latest" when the name has none. */
  readonly tag: string | undefined;
  /** "sha256:..." */
  readonly digest: string | undefined;
}

const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?';
const pattern = new RegExp(
  `^(?:((?:${label}(?:\\.${label})*|\\[[0-9a-fA-F:]+\\])(?::\\d+)?)/)?(${component}(?:/${component})*)` +
    '(?::(\\w[\\w.-]{0,127}))?(?:@([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$',
);

/** Undefined for text that names no image. */
export function parseImageName(text: string): ImageName | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, first, rest = '', tag, digest] = match;
  // "user/image" has no registry: the first part is one when it could not be part of a repository.
  const isRegistry = first !== undefined && (/[.:[]/.test(first) || first === 'localhost' || /[A-Z]/.test(first));
  const registry = isRegistry ? first.replace(/^index\.docker\.io$/, 'docker.io') : 'docker.io';
  const path = isRegistry || first === undefined ? rest : `${first}/${rest}`;
  const repository = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  if (repository.length > 255) return undefined;
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest };
}
