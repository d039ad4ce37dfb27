"""The app language: reading, building and writing the definition of an app.

It works on mappings and text, without IO except for reading a YAML file. Deploying an app, and running its
tools, is done elsewhere.
"""
