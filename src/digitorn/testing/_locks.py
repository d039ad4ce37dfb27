"""Locks of both faces, under names that the sync twin can translate."""

import asyncio
import threading

AsyncLock = asyncio.Lock
Lock = threading.Lock
