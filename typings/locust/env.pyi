from locust.runners import Runner

class EventHook:
    def fire(self, **arguments: object) -> None: ...

class Events:
    request: EventHook

class Environment:
    events: Events
    runner: Runner
    web_ui: object | None
