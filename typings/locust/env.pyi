class EventHook:
    def fire(self, **arguments: object) -> None: ...

class Events:
    request: EventHook

class Environment:
    events: Events
