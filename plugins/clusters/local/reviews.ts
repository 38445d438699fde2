/**
 * Reviews: questions about who somebody is and what they may do. The rule of today: every authenticated user may do
 * everything, anybody else nothing.
 */
import type { KubernetesObject, UserInfo } from '../../../kernel/contract/index.ts';
import type {
  LocalSubjectAccessReview,
  SelfSubjectReview,
  SelfSubjectRulesReview,
  SubjectAccessReview,
  SubjectAccessReviewStatus,
  TokenReview,
} from '../../../kernel/contract/kubernetes.ts';
import { badRequest, invalid } from './api-errors.ts';
import type { Resource } from './catalog.ts';
import type { Shaped } from './shape.ts';
import { FieldErrors } from './validation/field-errors.ts';

/** This process itself, when nobody else is named. */
const processUser: UserInfo = { name: 'system:unix', groups: ['system:masters', 'system:authenticated'] };

const anonymous = 'system:anonymous';

function decide(user: string | undefined, groups: readonly string[]): SubjectAccessReviewStatus {
  const isAnonymous = user === anonymous || groups.includes('system:unauthenticated') || !(user || groups.length);
  return isAnonymous
    ? { allowed: false, reason: 'anonymous users may read nothing but health and version' }
    : { allowed: true, reason: 'every authenticated user may do everything' };
}

function checkAttributes(resource: Resource, review: SubjectAccessReview, needsSubject: boolean): void {
  const errors = new FieldErrors();
  const { spec } = review;
  if (spec?.resourceAttributes && spec.nonResourceAttributes) {
    errors.invalid(
      'spec.nonResourceAttributes',
      spec.nonResourceAttributes,
      'cannot be specified in combination with resourceAttributes',
    );
  }
  if (!spec?.resourceAttributes && !spec?.nonResourceAttributes) {
    errors.invalid(
      'spec.resourceAttributes',
      null,
      'exactly one of nonResourceAttributes or resourceAttributes must be specified',
    );
  }
  if (needsSubject && !spec?.user && !spec?.groups?.length) {
    errors.invalid('spec.user', '', 'at least one of user or group must be specified');
  }
  if (!errors.isEmpty) throw invalid(resource.served, review.metadata.name ?? '', errors.causes);
}

/** The review with its status: the answer to its creation. */
export function review(resource: Resource, { object, causes }: Shaped, caller: UserInfo | undefined): KubernetesObject {
  if (causes.length > 0) throw invalid(resource.served, object.metadata.name ?? '', causes);
  const user = caller ?? processUser;
  switch (resource.served.kind) {
    case 'SelfSubjectReview': {
      const { name, uid, groups, extra } = user;
      return {
        ...(object as SelfSubjectReview),
        status: {
          userInfo: {
            username: name,
            ...(uid !== undefined && { uid }),
            groups: [...groups],
            ...(extra && {
              extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, [...values]])),
            }),
          },
        },
      } as SelfSubjectReview;
    }
    case 'SelfSubjectAccessReview':
      checkAttributes(resource, object as SubjectAccessReview, false);
      return { ...object, status: decide(user.name, user.groups) } as KubernetesObject;
    case 'SubjectAccessReview': {
      const draft = object as SubjectAccessReview;
      checkAttributes(resource, draft, true);
      return { ...draft, status: decide(draft.spec.user, draft.spec.groups ?? []) } as KubernetesObject;
    }
    case 'LocalSubjectAccessReview': {
      const draft = object as LocalSubjectAccessReview;
      checkAttributes(resource, draft, true);
      const { namespace } = draft.spec.resourceAttributes ?? {};
      if (namespace !== draft.metadata.namespace) {
        throw badRequest(
          `spec.resourceAttributes.namespace must match namespace: expected ${draft.metadata.namespace}, got ${namespace ?? ''}`,
        );
      }
      return { ...draft, status: decide(draft.spec.user, draft.spec.groups ?? []) } as KubernetesObject;
    }
    case 'SelfSubjectRulesReview': {
      const draft = object as SelfSubjectRulesReview;
      if (!draft.spec?.namespace) throw badRequest('no namespace on request');
      const { allowed } = decide(user.name, user.groups);
      return {
        ...draft,
        status: {
          resourceRules: allowed ? [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }] : [],
          nonResourceRules: allowed ? [{ verbs: ['*'], nonResourceURLs: ['*'] }] : [],
          incomplete: false,
        },
      } as SelfSubjectRulesReview;
    }
    case 'TokenReview': {
      const draft = object as TokenReview;
      if (!draft.spec?.token) throw badRequest('token is required for TokenReview in authentication');
      return {
        ...draft,
        status: {
          authenticated: false,
          user: {},
          error: 'this server issues no tokens; users come with client certificates',
        },
      } as KubernetesObject;
    }
    default:
      throw badRequest(`${resource.served.kind} is not a review that this server answers`);
  }
}
