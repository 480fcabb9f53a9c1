"""The running worker: claim, dispatch, settle.

One asyncio loop in the parent process (D-26). It claims tasks that can start at once, hands them to an
executor, settles what comes back in batches, beats, listens and recovers. It never runs a handler.
"""
