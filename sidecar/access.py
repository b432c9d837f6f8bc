"""Who sends a request, and whether they may: by API key, by token or, on this machine only, without either."""

from collections.abc import Awaitable, Callable

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from model.inference.errors import ErrorCode, RequestError
from sidecar.issuer import Issuer, is_token
from sidecar.keys import LOCAL, Caller, KeyRing, NoKeysError, Right
from sidecar.rates import Rates

_KEYS_UNAVAILABLE = "API keys are required, but the sidecar cannot check yours. Its log says why."


class Access:
    """Dependencies of routes: `may_...` accepts callers that have the right and have not sent too many requests, and returns
    the caller.
    """

    def __init__(self, keys: KeyRing, issuer: Issuer | None, rates: Rates) -> None:
        self._keys, self._issuer, self._rates = keys, issuer, rates
        self.may_predict = self._caller_with(Right.PREDICT)
        self.may_feed_back = self._caller_with(Right.FEEDBACK)
        self.may_review = self._caller_with(Right.REVIEW)

    def check_keys(self) -> None:
        """Raises RequestError, KEYS_UNAVAILABLE, if no key can be checked."""
        if self._keys.fault:
            raise RequestError(ErrorCode.KEYS_UNAVAILABLE, _KEYS_UNAVAILABLE)

    def _caller_with(self, right: Right) -> Dependency:
        async def authorise(request: Request) -> Caller:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            caller = await self._identify(key.strip() if scheme.lower() == "bearer" else "")
            if right not in caller.rights:
                raise RequestError(ErrorCode.NOT_PERMITTED, f"{caller.name!r} does not have the right to {right.value}.")
            await self._rates.count(caller, request)
            return caller

        authorised: Callable[[Request], Awaitable[Caller]] = authorise
        return Depends(authorised)  # type: ignore[no-any-return]

    async def _identify(self, key: str) -> Caller:
        if self._issuer and is_token(key):
            return await self._issuer.caller(key)
        if not self._keys.is_required:
            return LOCAL
        try:
            caller = self._keys.find(key)
        except NoKeysError as error:
            raise RequestError(ErrorCode.KEYS_UNAVAILABLE, _KEYS_UNAVAILABLE) from error
        if caller is None:
            raise RequestError(ErrorCode.KEY_INVALID, "No valid API key was sent. Send it as 'Authorization: Bearer KEY'.")
        return caller
